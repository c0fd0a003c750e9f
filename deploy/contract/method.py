"""Training methods and their hyperparameters, as a user names them and as a job receives them.

A method is a loss. ``dece`` is the product, ``supervised`` is plain cross-entropy (the control), and the others are
the rivals that the paper and our own study measure it against.
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

Exponent = Annotated[float, Field(gt=0.0, le=1.0)]
"""q of generalised cross-entropy: cross-entropy as it tends to 0, mean absolute error at 1."""
Weight = Annotated[float, Field(ge=0.0, le=100.0)]
Delta = Annotated[float, Field(ge=0.0, lt=1.0)]
"""How far In-trust trusts the model instead of the label."""
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

    alpha_base: AlphaBase | Auto = 0.99
    """``auto``: chosen by canaries on the training itself, one whole training for each value that is tried."""
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


class LabelSmoothingHyperparameters(Hyperparameters):
    """Label-smoothed cross-entropy (Szegedy et al., arXiv 1512.00567, section 7)."""

    label_smoothing: LabelSmoothing = 0.1


class LabelSmoothingOptions(Document):
    """Body of ``method.label_smoothing``."""

    hyperparameters: LabelSmoothingHyperparameters = LabelSmoothingHyperparameters()


class LabelSmoothingMethod(Document):
    """``{"type": "label_smoothing", "label_smoothing": {"hyperparameters": {...}}}``."""

    type: Literal["label_smoothing"]
    label_smoothing: LabelSmoothingOptions = LabelSmoothingOptions()

    @property
    def hyperparameters(self) -> LabelSmoothingHyperparameters:
        """The hyperparameters, wherever the method keeps them."""
        return self.label_smoothing.hyperparameters


class GceHyperparameters(Hyperparameters):
    """Generalised cross-entropy (Zhang and Sabuncu, arXiv 1805.07836)."""

    q: Exponent = 0.5


class GceOptions(Document):
    """Body of ``method.gce``."""

    hyperparameters: GceHyperparameters = GceHyperparameters()


class GceMethod(Document):
    """``{"type": "gce", "gce": {"hyperparameters": {...}}}``."""

    type: Literal["gce"]
    gce: GceOptions = GceOptions()

    @property
    def hyperparameters(self) -> GceHyperparameters:
        """The hyperparameters, wherever the method keeps them."""
        return self.gce.hyperparameters


class InTrustHyperparameters(Hyperparameters):
    """In-trust loss (Huang et al. 2021), with the constants of the DeCE artifact."""

    cross_entropy_weight: Weight = 0.2
    distrust_weight: Weight = 0.8
    delta: Delta = 0.5


class InTrustOptions(Document):
    """Body of ``method.in_trust``."""

    hyperparameters: InTrustHyperparameters = InTrustHyperparameters()


class InTrustMethod(Document):
    """``{"type": "in_trust", "in_trust": {"hyperparameters": {...}}}``."""

    type: Literal["in_trust"]
    in_trust: InTrustOptions = InTrustOptions()

    @property
    def hyperparameters(self) -> InTrustHyperparameters:
        """The hyperparameters, wherever the method keeps them."""
        return self.in_trust.hyperparameters


Method = Annotated[
    DeceMethod | SupervisedMethod | LabelSmoothingMethod | GceMethod | InTrustMethod,
    Field(discriminator="type"),
]


class DeceLoss(Document):
    """The loss of an arm, resolved."""

    type: Literal["dece"] = "dece"
    alpha_base: AlphaBase | Auto
    """``auto`` until the job has chosen."""
    label_smoothing: LabelSmoothing
    mode: Literal["exact", "parity"] = "exact"
    smoothing_spread: SmoothingSpread = "others"
    schedule: BlendingSchedule = "epoch"
    schedule_span: ScheduleSpan = 20.0


class CrossEntropyLoss(Document):
    """Plain cross-entropy, the mean over supervised tokens."""

    type: Literal["cross_entropy"] = "cross_entropy"


class LabelSmoothedLoss(Document):
    """Cross-entropy against (1 - e) onehot + e / V."""

    type: Literal["label_smoothed"] = "label_smoothed"
    label_smoothing: LabelSmoothing = 0.1


class GceLoss(Document):
    """Generalised cross-entropy, (1 - p**q) / q."""

    type: Literal["gce"] = "gce"
    q: Exponent = 0.5


class InTrustLoss(Document):
    """In-trust: cross-entropy and a term that trusts the model as far as the label."""

    type: Literal["in_trust"] = "in_trust"
    cross_entropy_weight: Weight = 0.2
    distrust_weight: Weight = 0.8
    delta: Delta = 0.5


Loss = Annotated[
    DeceLoss | CrossEntropyLoss | LabelSmoothedLoss | GceLoss | InTrustLoss, Field(discriminator="type")
]
"""The loss of an arm, resolved."""


def loss_of(method: Method) -> Loss:
    """The loss that a method trains its hardened arm with."""
    match method:
        case DeceMethod():
            chosen = method.hyperparameters
            return DeceLoss(
                alpha_base=chosen.alpha_base,
                label_smoothing=chosen.label_smoothing,
                mode=chosen.mode,
                smoothing_spread=chosen.smoothing_spread,
                schedule=chosen.schedule,
                schedule_span=chosen.schedule_span,
            )
        case SupervisedMethod():
            return CrossEntropyLoss()
        case LabelSmoothingMethod():
            return LabelSmoothedLoss(label_smoothing=method.hyperparameters.label_smoothing)
        case GceMethod():
            return GceLoss(q=method.hyperparameters.q)
        case InTrustMethod():
            constants = method.hyperparameters
            return InTrustLoss(
                cross_entropy_weight=constants.cross_entropy_weight,
                distrust_weight=constants.distrust_weight,
                delta=constants.delta,
            )


def describe_loss(loss: Loss) -> str:
    """One line for reports and tables, like ``dece(alpha_base=0.99, label_smoothing=0.05, exact)``.

    DeCE's spread and schedule are named where they are not the published ones: two losses never read the same.
    """
    match loss:
        case DeceLoss():
            base = loss.alpha_base if isinstance(loss.alpha_base, str) else f"{loss.alpha_base:g}"
            named = [f"alpha_base={base}", f"label_smoothing={loss.label_smoothing:g}", loss.mode]
            if loss.smoothing_spread != "others":
                named.append(f"smoothing_spread={loss.smoothing_spread}")
            if loss.schedule != "epoch":
                named.append(f"schedule={loss.schedule}, schedule_span={loss.schedule_span:g}")
            return f"dece({', '.join(named)})"
        case CrossEntropyLoss():
            return "supervised"
        case LabelSmoothedLoss():
            return f"label_smoothing(label_smoothing={loss.label_smoothing:g})"
        case GceLoss():
            return f"gce(q={loss.q:g})"
        case InTrustLoss():
            return (
                f"in_trust(cross_entropy_weight={loss.cross_entropy_weight:g}, "
                f"distrust_weight={loss.distrust_weight:g}, delta={loss.delta:g})"
            )
