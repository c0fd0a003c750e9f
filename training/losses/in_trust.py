"""In-trust loss (Huang et al., "Named Entity Recognition via Noise Aware Training Mechanism with Data Filter")."""

from dataclasses import dataclass

import torch

from training.losses.row import RowResult
from training.losses.softmax import log_softmax

PROBABILITY_FLOOR = 1e-7
LABEL_FLOOR = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class InTrustRows:
    """L = a CE + b DCE, DCE = - sum_c p_c log(d p_c + (1 - d) y_c).

    As the DeCE artifact runs it: a = 0.2, b = 0.8, d = 0.5, p held to at least 1e-7 and the one-hot y to
    at least 1e-4 inside DCE; a p below its floor has no gradient there.

    Raises:
        ValueError: a negative weight, or ``delta`` outside [0, 1).
    """

    cross_entropy_weight: float = 0.2
    distrust_weight: float = 0.8
    delta: float = 0.5

    def __post_init__(self) -> None:
        if not (self.cross_entropy_weight >= 0.0 and self.distrust_weight >= 0.0):
            raise ValueError("the weights of In-trust must not be negative")
        if not 0.0 <= self.delta < 1.0:
            raise ValueError(f"delta={self.delta} must lie in [0, 1)")

    @property
    def takes_half(self) -> bool:
        """No: torch would do the mathematics in the logits' own precision."""
        return False

    def rows_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor) -> RowResult:
        """See :class:`training.losses.row.RowLoss`."""
        at = targets_N[:, None]
        log_p_NV = log_softmax(logits_NV)
        log_p_t = log_p_NV.gather(1, at).squeeze(1)
        p_NV = log_p_NV.exp()
        others = p_NV.scatter(1, at, 0.0).sum(dim=-1)
        held_NV = p_NV.clamp(min=PROBABILITY_FLOOR, max=1.0)
        mix_NV = (held_NV * self.delta).add_((1.0 - self.delta) * LABEL_FLOOR)
        mix_t = self.delta * held_NV.gather(1, at) + (1.0 - self.delta)
        mix_NV.scatter_(1, at, mix_t)
        log_mix_NV = mix_NV.log()
        distrust = -(held_NV * log_mix_NV).sum(dim=-1)
        loss = self.distrust_weight * distrust - self.cross_entropy_weight * log_p_t
        # d DCE / d p_c = -(log mix_c + d p_c / mix_c); through the softmax: p_j (h_j - sum p h).
        slope_NV = (held_NV.mul_(self.delta).div_(mix_NV) + log_mix_NV).neg_()
        slope_NV.mul_(p_NV >= PROBABILITY_FLOOR)
        mean = (p_NV * slope_NV).sum(dim=-1, keepdim=True)
        gradient_NV = slope_NV.sub_(mean).mul_(p_NV).mul_(self.distrust_weight)
        pull = self.cross_entropy_weight * others - gradient_NV.gather(1, at).squeeze(1)
        gradient_NV.add_(p_NV, alpha=self.cross_entropy_weight)
        torch.mul(gradient_NV, scale_N[:, None], out=logits_NV)
        logits_NV.scatter_(1, at, (-scale_N * pull)[:, None])
        return RowResult(loss=loss, pull=pull, others=others)
