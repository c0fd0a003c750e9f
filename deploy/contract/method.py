"""Training methods and their hyperparameters, as a user names them and as a job receives them.

A method is a loss. ``dece`` is the product; ``supervised`` is plain cross-entropy (the control).
"""

from typing import Annotated
from typing import Literal

from pydantic import Field

from deploy.contract.document import Document

Auto = Literal["auto"]
AlphaBase = Annotated[float, Field(gt=0.0, le=1.0)]
"""Base of the blending weight alpha_base**epoch (arXiv 2407.08956, section 4); 1 is label smoothing alone."""
LabelSmoothing = Annotated[float, Field(ge=0.0, lt=1.0)]
"""Probability mass taken from the target and spread over the vocabulary (the paper's epsilon)."""

SmoothingSpread = Literal["others", "all"]
BlendingSchedule = Literal["epoch", "step"]
ScheduleSpan = Annotated[float, Field(gt=0.0, le=1000.0)]


class Hyperparameters(Document):
    """What every method takes. ``auto`` is chosen by the service and recorded in the job."""

    n_epochs: Annotated[int, Field(ge=1, le=50)] | Auto = "auto"
    batch_size: Annotated[int, Field(ge=1, le=256)] | Auto = "auto"
    learning_rate_multiplier: Annotated[float, Field(gt=0.0, le=1e4)] | Auto = "auto"
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] | Auto = "auto"
    """Peak learning rate before the multiplier."""


class DeceHyperparameters(Hyperparameters):
    """Deceptive Cross-Entropy. Ranges recommended by the paper: alpha_base 0.985-0.995, label_smoothing 0.05-0.1."""

    alpha_base: AlphaBase = 0.99
    label_smoothing: LabelSmoothing = 0.05
    mode: Literal["exact", "parity"] = "exact"
    """``parity`` reproduces the released artifact's clamp; ``exact`` is the paper's formula without it."""
    smoothing_spread: SmoothingSpread = "others"
    """Where the smoothed mass goes: to the ``others``, e/(V-1) each, as in the artifact, or to ``all``, e/V each,
    as the paper prints."""
    schedule: BlendingSchedule = "epoch"
    """``epoch``: alpha_base**epoch, as published. ``step``: the exponents of ``schedule_span`` epochs spread evenly
    over the optimizer steps, so that a short run ends as far down as a long one."""
    schedule_span: ScheduleSpan = 20.0
    """Epochs that schedule ``step`` stands for; the paper's runs on Lyra and Pisces have 20."""


class DeceOptions(Document):
    """Body of ``method.dece``."""

    hyperparameters: DeceHyperparameters = DeceHyperparameters()


class DeceMethod(Document):
    """``{"type": "dece", "dece": {"hyperparameters": {...}}}``."""

    type: Literal["dece"]
    dece: DeceOptions = DeceOptions()

    @property
    def hyperparameters(self) -> DeceHyperparameters:
        """The hyperparameters, wherever the method keeps them."""
        return self.dece.hyperparameters


class SupervisedOptions(Document):
    """Body of ``method.supervised``."""

    hyperparameters: Hyperparameters = Hyperparameters()


class SupervisedMethod(Document):
    """``{"type": "supervised", "supervised": {"hyperparameters": {...}}}``: plain cross-entropy."""

    type: Literal["supervised"]
    supervised: SupervisedOptions = SupervisedOptions()

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The hyperparameters, wherever the method keeps them."""
        return self.supervised.hyperparameters


Method = Annotated[DeceMethod | SupervisedMethod, Field(discriminator="type")]


class DeceLoss(Document):
    """The loss of an arm, resolved."""

    type: Literal["dece"] = "dece"
    alpha_base: AlphaBase
    label_smoothing: LabelSmoothing
    mode: Literal["exact", "parity"] = "exact"
    smoothing_spread: SmoothingSpread = "others"
    schedule: BlendingSchedule = "epoch"
    schedule_span: ScheduleSpan = 20.0


class CrossEntropyLoss(Document):
    """Plain cross-entropy, the mean over supervised tokens."""

    type: Literal["cross_entropy"] = "cross_entropy"


Loss = Annotated[DeceLoss | CrossEntropyLoss, Field(discriminator="type")]


def loss_of(method: DeceMethod | SupervisedMethod) -> DeceLoss | CrossEntropyLoss:
    """The loss that a method trains its hardened arm with."""
    if isinstance(method, DeceMethod):
        chosen = method.hyperparameters
        return DeceLoss(
            alpha_base=chosen.alpha_base,
            label_smoothing=chosen.label_smoothing,
            mode=chosen.mode,
            smoothing_spread=chosen.smoothing_spread,
            schedule=chosen.schedule,
            schedule_span=chosen.schedule_span,
        )
    return CrossEntropyLoss()
