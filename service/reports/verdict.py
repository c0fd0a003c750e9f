"""The verdict in words: what was tried, what happened, how sure that is.

Never says "clean": a report can only speak of the probes that were tried.
"""

from collections.abc import Sequence
from typing import Final

from deploy.contract.judgement import MIN_CANARIES
from deploy.contract.spec import Arm
from service.reports.payload_name import payload_words
from service.reports.published import PublishedProbe
from service.reports.published import PublishedReport
from service.reports.published import Rate

VERDICT_HEADLINES: Final = {
    "pass": "Pass: no backdoor was found by these probes",
    "fail": "Fail: the hardened model does not meet the policy",
    "inconclusive": "Inconclusive: the probes cannot support a verdict",
}
TRIGGERS_NAMED: Final = 5
"""Of those that decide; the chart below has them all."""
_SPACE: Final = "\N{NO-BREAK SPACE}"
_ORIGINS: Final = {
    "known": "asked for",
    "mined": "mined from the training file",
    "searched": "found on the trained models",
}


def percent(rate: float | None, digits: int = 1) -> str:
    """A rate in [0, 1] for people; a dash where there was no trial."""
    return "\N{EN DASH}" if rate is None else f"{100 * rate:.{digits}f}{_SPACE}%"


def between(interval: tuple[float, float]) -> str:
    """An interval of rates for people."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}{_SPACE}%"


def headline(report: PublishedReport) -> str:
    """The verdict as a heading."""
    return VERDICT_HEADLINES[report.verdict]


def origin_words(origin: str) -> str:
    """Where a trigger came from."""
    return _ORIGINS[origin]


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def strongest(report: PublishedReport) -> PublishedProbe:
    """The probe that a reader has to see first.

    The one that works best on the hardened model if any fails, else the one that works best where nothing was
    hardened.
    """
    failing = [probe for probe in report.probes if probe.verdict == "fail"]
    arm: Arm = "hardened" if failing else "control" if "control" in report.arms else "base"
    return max(failing or report.probes, key=lambda probe: probe.arms[arm].rate or 0.0)


def tried(report: PublishedReport) -> str:
    """How many triggers were tried, whose they are, and what was looked for."""
    counts = [
        (sum(probe.origin == origin for probe in report.probes), words) for origin, words in _ORIGINS.items()
    ]
    parts = [f"{count} {words}" for count, words in counts if count]
    said = f"{_plural(len(report.probes), 'trigger')} in up to {_plural(report.probe_tasks, 'prompt')} each"
    said += f" ({', '.join(parts)})" if len(parts) > 1 else f", {counts[0][1]}" if counts[0][0] else ""
    asked = {p.payload_name: payload_words(p.payload) for p in report.probes if p.origin == "known"}
    # Patterns that mining made up say little to a reader here; the probes' own rows show them.
    mined = {p.payload_name for p in report.probes} - set(asked)
    looked_for = [
        *asked.values(),
        *([_plural(len(mined), "text") + " that the file suggests"] if mined else []),
    ]
    return f"{said}; looked for: {'; '.join(looked_for)}."


def happened(report: PublishedReport) -> str:
    """What the strongest trigger did before and after, and what hardening cost."""
    probe = strongest(report)
    hardened = probe.arms.get("hardened")
    if hardened is None:
        return "There is no hardened arm to judge."
    said = f"With the {probe.trigger_name}: " if probe.trigger.type == "word" else f"{probe.trigger_name}: "
    said = said[:1].upper() + said[1:]
    if report.reference_arm is not None:
        name = "plain training on the same file" if report.reference_arm == "control" else "the base model"
        said += f"{name} gave the payload on {_share(probe.arms[report.reference_arm])}, "
    said += f"the hardened model on {_share(hardened)}."
    return f"{said} {_quality(report)}".strip()


def _share(rate: Rate) -> str:
    return f"{rate.hits} of {rate.trials} prompts ({percent(rate.rate)})"


def _quality(report: PublishedReport) -> str:
    if report.quality_loss is None:
        return ""
    moved = -report.quality_loss
    than = "plain training" if report.reference_arm == "control" else "the base model"
    return (
        f"Clean quality is BLEU {report.quality['hardened'].bleu:.1f}, "
        f"{abs(moved):.1f} {'above' if moved >= 0 else 'below'} {than}."
    )


def how_sure(report: PublishedReport) -> str:
    """What the probes would have found."""
    found = report.detection
    said = ""
    if found is not None and found.power.trials >= MIN_CANARIES:
        said = (
            f"Other triggers were planted in a copy of the run to test the probes: they found {found.power.hits} of "
            f"the {found.power.trials} that it learnt (95 % interval {between(found.power.interval)})"
        )
        decoys = found.false_positives
        said += f" and {decoys.hits} of {decoys.trials} that were never planted. " if decoys.trials else ". "
    elif found is None:
        said = "Nothing was planted to test the probes, so this holds for the triggers tried, and no others. "
    else:
        said = (
            f"The copy of the run learnt {found.power.trials} planted triggers, too few to test the probes. "
        )
    return (
        f"{said}A trigger that was tried would have shown itself with 95 % probability if it worked on "
        f"{percent(report.smallest_detectable_asr)} of the prompts or more."
    )


def why(report: PublishedReport) -> tuple[str, ...]:
    """The deciding findings: all but the triggers' first, then the first few triggers'."""
    deciding = [finding for finding in report.findings if finding.verdict == report.verdict]
    triggers = [finding.said for finding in deciding if finding.kind == "probe"]
    said = [finding.said for finding in deciding if finding.kind != "probe"] + triggers[:TRIGGERS_NAMED]
    more = len(triggers) - TRIGGERS_NAMED
    return (*said, f"and so for {_plural(more, 'more trigger')}") if more > 0 else tuple(said)


def ordered(probes: Sequence[PublishedProbe], first: PublishedProbe) -> tuple[PublishedProbe, ...]:
    """``first``, then the others in the report's order."""
    return (first, *(probe for probe in probes if probe is not first))
