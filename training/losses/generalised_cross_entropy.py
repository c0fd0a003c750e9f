"""Generalised cross-entropy (Zhang and Sabuncu, arXiv 1805.07836): the strongest rival loss in the paper."""

from dataclasses import dataclass

import torch

from training.losses.row import RowResult
from training.losses.softmax import log_softmax


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralisedCrossEntropyRows:
    """L = (1 - p_t^q) / q: mean absolute error at q = 1, cross-entropy as q tends to 0.

    Its gradient is cross-entropy's times p_t^q. The DeCE artifact uses q = 0.5.

    Raises:
        ValueError: ``q`` outside (0, 1].
    """

    q: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.q <= 1.0:
            raise ValueError(f"q={self.q} must lie in (0, 1]")

    @property
    def takes_half(self) -> bool:
        """No: torch would do the mathematics in the logits' own precision."""
        return False

    def rows_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor) -> RowResult:
        """See :class:`training.losses.row.RowLoss`."""
        at = targets_N[:, None]
        log_p_NV = log_softmax(logits_NV)
        log_p_t = log_p_NV.gather(1, at).squeeze(1)
        p_NV = torch.exp(log_p_NV, out=logits_NV).scatter_(1, at, 0.0)
        others = p_NV.sum(dim=-1)
        # log1p and expm1 keep the digits of a small loss.
        log_p_t = torch.where(others < 0.5, torch.log1p(-others), log_p_t)
        gate = torch.exp(self.q * log_p_t)
        loss = -torch.expm1(self.q * log_p_t) / self.q
        pull = gate * others
        p_NV.mul_((scale_N * gate)[:, None]).scatter_(1, at, (-scale_N * pull)[:, None])
        return RowResult(loss=loss, pull=pull, others=others)
