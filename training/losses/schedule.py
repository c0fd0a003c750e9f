"""How DeCE's blending weight falls while training goes on. A function of the position alone: a resume is exact."""

from dataclasses import dataclass
from typing import Literal

from training.losses.dece import blending_weight

Schedule = Literal["epoch", "step"]
PAPER_EPOCHS = 20.0
"""Length of the paper's runs on Lyra and Pisces (section 5.3), over which alpha_base was chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaSchedule:
    """The blending weight at a position.

    ``epoch`` is the published one: ``alpha_base ** epoch``, the first epoch being 1, constant within it; a
    run of two epochs only ever sees the first two values. ``step`` spreads the exponents of ``span``
    epochs evenly over the optimizer steps of the run, whatever their number:
    ``alpha_base ** (span * step / total_steps)``, the first step being 1.

    Raises:
        ValueError: ``alpha_base`` outside (0, 1], ``span`` not positive or an unknown kind.
    """

    alpha_base: float
    kind: Schedule = "epoch"
    span: float = PAPER_EPOCHS

    def __post_init__(self) -> None:
        blending_weight(self.alpha_base, 1)
        if self.kind not in {"epoch", "step"}:
            raise ValueError(f"schedule={self.kind!r} must be 'epoch' or 'step'")
        if not self.span > 0.0:
            raise ValueError(f"span={self.span} must be positive")

    def alpha(self, *, epoch: int, step: int, total_steps: int) -> float:
        """The weight in an epoch and at an optimizer step, both counted from 1.

        Raises:
            ValueError: a position outside the run.
        """
        if epoch < 1 or not 1 <= step <= total_steps:
            raise ValueError(f"epoch {epoch}, step {step} of {total_steps}: not a position in a run")
        exponent = float(epoch) if self.kind == "epoch" else self.span * step / total_steps
        return blending_weight(self.alpha_base, exponent)
