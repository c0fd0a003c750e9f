"""The table of strategies: every defence of the lab, and DeCE together with a filter, by the name it has in results.

How a study runs a ``Strategy`` on the rows of a training file, in this order; a member that is None is left out:

1. ``row_filter()`` makes a :class:`~training.defences.row_filter.RowFilter`. If its ``needs_model`` says so, it gets
   the base model (``filter_model`` is "base") or one trained on the rows first, with plain cross-entropy and the
   unchanged plan ("fine_tuned"). ``examine``, and leave out the rows that ``Filtered.removed`` numbers. A filter may
   remove every row; that is its result.
2. ``fit_cleaner(clean_rows, seed=seed)`` makes a :class:`~training.defences.prompt_cleaner.PromptCleaner` that knows
   the task's language and has seen no poison, as GPT-2 has not that ONION is published with. ``clean`` every prompt
   at evaluation with it, triggered or not, and the training prompts if ``cleans_training``.
3. Train with ``loss(plan)`` and ``replan(plan)``. With ``early_stopping``, score every epoch's model on clean
   validation tasks, keep the weights of ``chosen(scores)`` and stop once ``is_over(scores)``. Nothing is trained
   where ``fine_tunes`` is False.

No strategy is told the trigger, the payload or the poison rate.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from types import MappingProxyType
from typing import Final
from typing import Literal
from typing import Protocol

from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from deploy.contract.method import GceLoss
from deploy.contract.method import InTrustLoss
from deploy.contract.method import LabelSmoothedLoss
from deploy.contract.method import Loss
from deploy.contract.spec import TrainingPlan
from training.data.example import PromptedRow
from training.defences.early_stopping import EarlyStopping
from training.defences.filters import FILTERS
from training.defences.onion import Onion
from training.defences.prompt_cleaner import PromptCleaner
from training.defences.row_filter import RowFilter

MODERATE_SLOWDOWN: Final = 10.0
"""Moderate-fitting in the artifact is cross-entropy at 5e-6 instead of 5e-5 (DeCE's commit 0864e3b)."""


PATIENCE: Final = 3
"""Epochs. On Lyra, cross-entropy and 40 validation tasks, one epoch of patience takes a dip of the noise for the
plateau: the decoder is left at BLEU 32 of 48, which nobody would ship; with three it is let go on to 48, and so is the
backdoor. Both ends stand in the table: the first as a rival that keeps quality, the second as the one that stops."""


class FitCleaner(Protocol):
    """Makes a cleaner from clean rows."""

    def __call__(self, rows: Sequence[PromptedRow], *, seed: int) -> PromptCleaner:
        """A cleaner that has seen these rows and nothing else."""
        ...


def _cross_entropy(plan: TrainingPlan) -> Loss:
    del plan
    return CrossEntropyLoss()


def _dece(plan: TrainingPlan) -> Loss:
    del plan
    return DeceLoss(alpha_base=0.99, label_smoothing=0.05)


def _unchanged(plan: TrainingPlan) -> TrainingPlan:
    return plan


def _moderate(plan: TrainingPlan) -> TrainingPlan:
    return plan.model_copy(update={"learning_rate": plan.learning_rate / MODERATE_SLOWDOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One defence, ready to be run; the module says how."""

    name: str
    """Lower case with underscores; the key in the table, in results and on the command line."""
    paper_name: str
    """As the paper's tables print it, or as they would."""
    loss: Callable[[TrainingPlan], Loss] = _cross_entropy
    row_filter: Callable[[], RowFilter] | None = None
    filter_model: Literal["base", "fine_tuned"] = "fine_tuned"
    """What the row filter looks at, if it needs a model."""
    fit_cleaner: FitCleaner | None = None
    cleans_training: bool = False
    """Whether the training prompts are cleaned as well; ONION in the DeCE artifact cleans test prompts alone."""
    replan: Callable[[TrainingPlan], TrainingPlan] = _unchanged
    early_stopping: EarlyStopping | None = None
    fine_tunes: bool = True
    """Without, the base model is used as it is: what the others have to be better than."""


def _always(loss: Loss) -> Callable[[TrainingPlan], Loss]:
    return lambda plan: loss


_LOSSES_AND_PLANS: Final = (
    Strategy(name="untrained", paper_name="not fine-tuned", fine_tunes=False),
    Strategy(name="cross_entropy", paper_name="none (CE)"),
    Strategy(
        name="label_smoothing",
        paper_name="Label smoothing",
        loss=_always(LabelSmoothedLoss(label_smoothing=0.1)),
    ),
    Strategy(
        name="early_stopping", paper_name="Early stopping", early_stopping=EarlyStopping(patience=PATIENCE)
    ),
    Strategy(
        name="early_stopping_first_dip",
        paper_name="Early stopping at the first dip",
        early_stopping=EarlyStopping(patience=1),
    ),
    Strategy(name="gce", paper_name="GCE", loss=_always(GceLoss(q=0.5))),
    Strategy(name="in_trust", paper_name="In-trust", loss=_always(InTrustLoss())),
    Strategy(name="moderate_fitting", paper_name="Moderate", replan=_moderate),
    Strategy(name="dece", paper_name="DeCE", loss=_dece),
)
_FILTERING: Final = (
    Strategy(name="bki", paper_name="BKI", row_filter=FILTERS["bki"]),
    Strategy(name="onion", paper_name="ONION", fit_cleaner=Onion),
    Strategy(
        name="spectral_signatures",
        paper_name="Spectral signatures",
        row_filter=FILTERS["spectral_signatures"],
    ),
    Strategy(name="killbadcode", paper_name="KillBadCode", row_filter=FILTERS["killbadcode"]),
    Strategy(
        name="killbadcode_signed",
        paper_name="KillBadCode, signed gains",
        row_filter=FILTERS["killbadcode_signed"],
    ),
    Strategy(
        name="gradsentry", paper_name="GradSentry", row_filter=FILTERS["gradsentry"], filter_model="base"
    ),
    Strategy(name="association", paper_name="Association mining", row_filter=FILTERS["association"]),
)


def _with_dece(strategy: Strategy) -> Strategy:
    return replace(
        strategy, name=f"dece_{strategy.name}", paper_name=f"DeCE w. {strategy.paper_name}", loss=_dece
    )


STRATEGIES: Final[Mapping[str, Strategy]] = MappingProxyType(
    {each.name: each for each in (*_LOSSES_AND_PLANS, *_FILTERING, *map(_with_dece, _FILTERING))}
)
