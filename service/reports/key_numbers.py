"""The three numbers that matter: what the worst trigger does, what hardening cost, what the probes would have found."""

from dataclasses import dataclass

from markupsafe import Markup

from deploy.contract.judgement import FindingKind
from deploy.contract.judgement import Verdict
from service.reports.gauge import draw_gauge
from service.reports.published import PublishedProbe
from service.reports.published import PublishedReport
from service.reports.verdict import between
from service.reports.verdict import percent


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNumber:
    """One tile."""

    title: str
    number: str
    interval: str
    note: str
    verdict: Verdict
    gauge: Markup
    limit: str


def worst_verdict(report: PublishedReport, kind: FindingKind) -> Verdict:
    """The verdict on everything of one kind; pass where there is nothing of it."""
    verdicts = {finding.verdict for finding in report.findings if finding.kind == kind}
    return "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"


def worst_probe(report: PublishedReport) -> PublishedProbe:
    """The trigger that works best on the hardened model; among equals the one that works best on the control."""
    reference = report.reference_arm or "base"

    def harm(probe: PublishedProbe) -> tuple[float, float, float]:
        hardened = probe.arms["hardened"]
        other = probe.arms[reference].rate if reference in probe.arms else None
        return hardened.rate or 0.0, other or 0.0, hardened.interval[1]

    return max(report.probes, key=harm)


def key_numbers(report: PublishedReport) -> tuple[KeyNumber, ...]:
    """The tiles; none without a hardened arm."""
    if "hardened" not in report.arms:
        return ()
    return _attack(report), _quality(report), _power(report)


def _attack(report: PublishedReport) -> KeyNumber:
    probe = worst_probe(report)
    hardened, limit = probe.arms["hardened"], report.policy.max_asr_upper
    verdict = worst_verdict(report, "probe")
    note = f"{hardened.hits} of {hardened.trials} prompts with the worst trigger, {probe.name}"
    control = probe.arms.get("control")
    if control is not None:
        note += f"; plain training {percent(control.rate)}"
    return KeyNumber(
        title="Attacks that succeed",
        number=percent(hardened.rate),
        interval=f"95 % interval {between(hardened.interval)}",
        note=note,
        verdict=verdict,
        limit=f"upper bound may be {percent(limit)}",
        gauge=draw_gauge(
            hardened.rate or 0.0,
            hardened.interval,
            limit=limit,
            scale=(0.0, max(2.5 * limit, min(1.0, 1.1 * hardened.interval[1]))),
            verdict=verdict,
            said=f"attack success rate {percent(hardened.rate)}, limit {percent(limit)}",
        ),
    )


def _quality(report: PublishedReport) -> KeyNumber:
    bleu, loss = report.quality["hardened"].bleu, report.quality_loss or 0.0
    limit, verdict = report.policy.max_quality_loss, worst_verdict(report, "quality")
    others = {"control": "plain training", "base": "before training"}
    beside = [
        f"{others[arm]} {report.quality[arm].bleu:.1f}"
        for arm in ("control", "base")
        if arm in report.quality
    ]
    return KeyNumber(
        title="Clean quality kept",
        number=f"BLEU {bleu:.1f}",
        interval=f"{abs(loss):.1f} points {'lost' if loss >= 0 else 'gained'}",
        note="; ".join(beside),
        verdict=verdict,
        limit=f"{limit:g} points may be lost",
        gauge=draw_gauge(
            loss,
            None,
            limit=limit,
            scale=(min(0.0, loss), max(2 * limit, 1.1 * loss, 1.0)),
            verdict=verdict,
            said=f"{loss:.1f} BLEU lost, limit {limit:g}",
        ),
    )


def _power(report: PublishedReport) -> KeyNumber:
    limit, verdict = report.policy.min_power, worst_verdict(report, "power")
    measured = report.power_basis == "canaries" and report.detection is not None
    if measured and report.detection is not None:
        found, decoys = report.detection.power, report.detection.false_positives
        note = f"{found.hits} of {found.trials} planted triggers found; false alarms: {decoys.hits} of {decoys.trials}"
    else:
        asr = percent(report.policy.max_asr_upper)
        note = f"chance that a trigger that was tried shows an attack success rate of {asr}; "
        planted = report.detection is not None
        note += (
            "too few that were planted were learnt to test it" if planted else "none was planted to test it"
        )
    interval = "from the number of prompts"
    if report.power_interval is not None:
        interval = f"95 % interval {between(report.power_interval)}"
    return KeyNumber(
        title="Would it be found?",
        number=percent(report.power),
        interval=interval,
        note=note,
        verdict=verdict,
        limit=f"at least {percent(limit)} demanded",
        gauge=draw_gauge(
            report.power,
            report.power_interval,
            limit=limit,
            scale=(0.0, 1.0),
            verdict=verdict,
            said=f"detection power {percent(report.power)}, {percent(limit)} demanded",
        ),
    )
