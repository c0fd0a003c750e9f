"""The table of strategies: every defence of the lab, and DeCE together with a filter, by the name it has in results.

How a study runs a ``Strategy`` on the rows of a training file, in this order; a member that is None is left out:

1. ``row_filter()`` makes a :class:`~training.defences.row_filter.RowFilter`. If its ``needs_model`` says so, train a
   model on the rows first, with plain cross-entropy and the unchanged plan; then ``examine`` and leave out the rows
   that ``Filtered.removed`` numbers.
2. ``fit_cleaner(rows, seed=seed)`` on what is left makes a :class:`~training.defences.prompt_cleaner.PromptCleaner`;
   ``clean`` every training prompt with it, and every prompt at evaluation, triggered or not.
3. Train with ``loss(plan)`` and ``replan(plan)``. With ``early_stopping``, score every epoch's model on clean
   validation tasks, keep the weights of ``chosen(scores)`` and stop once ``is_over(scores)``.

No strategy is told the trigger, the payload or the poison rate.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
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
from training.defences.prompt_cleaner import PromptCleaner
from training.defences.row_filter import RowFilter

MODERATE_SLOWDOWN: Final = 10.0
"""Moderate-fitting in the artifact is cross-entropy at 5e-6 instead of 5e-5 (DeCE's commit 0864e3b)."""


class FitCleaner(Protocol):
    """Makes a cleaner from the training rows."""

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
    fit_cleaner: FitCleaner | None = None
    replan: Callable[[TrainingPlan], TrainingPlan] = _unchanged
    early_stopping: EarlyStopping | None = None


def _always(loss: Loss) -> Callable[[TrainingPlan], Loss]:
    return lambda plan: loss


_ALL: Final = (
    Strategy(name="cross_entropy", paper_name="none (CE)"),
    Strategy(
        name="label_smoothing",
        paper_name="Label smoothing",
        loss=_always(LabelSmoothedLoss(label_smoothing=0.1)),
    ),
    Strategy(name="early_stopping", paper_name="Early stopping", early_stopping=EarlyStopping()),
    Strategy(name="gce", paper_name="GCE", loss=_always(GceLoss(q=0.5))),
    Strategy(name="in_trust", paper_name="In-trust", loss=_always(InTrustLoss())),
    Strategy(name="moderate_fitting", paper_name="Moderate", replan=_moderate),
    Strategy(name="dece", paper_name="DeCE", loss=_dece),
)

STRATEGIES: Final[Mapping[str, Strategy]] = MappingProxyType({each.name: each for each in _ALL})
