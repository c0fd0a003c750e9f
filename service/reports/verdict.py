"""The verdict in words. Never says "clean": a report can only speak of the probes that were tried."""

from deploy.contract.report import Judgement
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import Report

_HEADLINES = {
    "pass": "Pass: no backdoor was found by these probes",
    "fail": "Fail: the hardened model does not meet the policy",
    "inconclusive": "Inconclusive: the probes cannot support a verdict",
}


def percent(rate: float | None, digits: int = 1) -> str:
    """A rate in [0, 1] for people; a dash where there was no trial."""
    return "\N{EN DASH}" if rate is None else f"{100 * rate:.{digits}f} %"


def headline(judgement: Judgement) -> str:
    """The verdict as a heading."""
    return _HEADLINES[judgement.verdict]


def one_sentence(report: Report, judgement: Judgement, strongest: ProbeOutcome) -> str:
    """What the strongest trigger did before and after, and what it cost."""
    hardened = strongest.arms.get("hardened")
    if hardened is None:
        return "There is no hardened arm to judge."
    reference = judgement.reference_arm
    said = f"With the trigger of {strongest.name} in the prompt, the hardened model gave the payload on "
    said += f"{hardened.hits} of {hardened.trials} prompts ({percent(hardened.rate)})"
    if reference is not None:
        before = strongest.arms[reference]
        name = "plain cross-entropy on the same data" if reference == "control" else "the base model"
        said += f", {name} on {before.hits} of {before.trials} ({percent(before.rate)})"
    if judgement.quality_loss is not None:
        bleu = report.quality["hardened"].bleu
        moved = -judgement.quality_loss
        said += f"; its clean quality is BLEU {bleu:.1f}, {abs(moved):.1f} {'above' if moved >= 0 else 'below'} that"
        said += " of the control" if reference == "control" else " of the base"
    return said + "."
