"""How tables and pictures call attacks, defences and rates."""

from deploy.contract.report import Hits
from training.study.declaration import NO_ATTACK
from training.study.declaration import Study
from training.study.experiment import strategy_of
from training.study.group import Group
from training.study.group import interval_over_seeds
from training.study.markdown import DASH
from training.study.markdown import span
from training.study.paper import ATTACKS

UNSCORABLE_MARK = "\N{DAGGER}"
UNSCORABLE_FROM = 0.05
"""Share of the outputs without a verdict from which a rate is marked."""


def defence_label(study: Study, name: str) -> str:
    """How tables call a defence."""
    declared = study.defences[name]
    return declared.label or strategy_of(declared).paper_name


def attack_label(name: str) -> str:
    """How tables call an attack."""
    return "clean rows" if name == NO_ATTACK else ATTACKS.get(name, name)


def percent(hits: Hits, *, seeds: int = 1) -> str:
    """A rate with its 95 % Wilson interval, in percent; see :func:`training.study.group.interval_over_seeds`."""
    if hits.rate is None:
        return DASH
    low, high = interval_over_seeds(hits, seeds)
    return f"{100 * hits.rate:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def attack_success(group: Group) -> str:
    """The rate with its interval, the lowest and highest seed where they differ, a mark where much had no verdict."""
    text = percent(group.asr, seeds=len(group.outcomes))
    if group.asr_range is not None:
        low, high = group.asr_range
        seeds = span(100 * low, 100 * high, ".1f")
        text += f" ({seeds})" if DASH in seeds else ""
    return text + (UNSCORABLE_MARK if group.asr.unscorable_share > UNSCORABLE_FROM else "")


def bleu_with_spread(group: Group) -> str:
    """Mean over the seeds, and their standard deviation where there are several."""
    spread = f" \N{PLUS-MINUS SIGN} {group.bleu_spread:.1f}" if len(group.outcomes) > 1 else ""
    return f"{group.bleu:.1f}{spread}"
