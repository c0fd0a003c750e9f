"""The seam between losses and what computes them: a row loss turns rows of logits into losses and gradients.

A row is one supervised token: V logits and a target. Everything above this seam (reductions, ignored
targets, the fused head, gradient accumulation) knows no formula; everything below it knows no model.
"""

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What a row loss says about N rows, each [N], in the dtype of the row mathematics."""

    loss: torch.Tensor
    pull: torch.Tensor
    """Minus the gradient of the target's logit: how hard the row pulls its target up. 1 - p_t for cross-entropy."""
    others: torch.Tensor
    """1 - p_t, summed over the other classes, so it keeps its digits when p_t is near 1."""


class RowLoss(Protocol):
    """A loss with closed-form gradient. Frozen: one object is one function."""

    @property
    def takes_half(self) -> bool:
        """Whether ``rows_`` takes bf16 and fp16 logits and does its mathematics in fp32 all the same."""
        ...

    def rows_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor) -> RowResult:
        """Losses of N rows; ``logits_NV`` is overwritten with ``scale * d loss / d logits``.

        Args:
            logits_NV: [N, V] fp32 or fp64 (or half, see ``takes_half``), rows contiguous.
            targets_N: [N] int64 in 0..V-1, checked by the caller.
            scale_N: [N], same dtype; what each row's gradient is multiplied with.
        """
        ...
