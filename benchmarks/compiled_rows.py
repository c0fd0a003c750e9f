"""DeCE's rows in plain torch under ``torch.compile``: the alternative to the C kernel that was measured against it."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from training.losses.dece import DeceRows
from training.losses.row import RowResult


def _rows(  # noqa: PLR0917 - positional, as Inductor guards on them
    logits_NV: torch.Tensor,
    targets_N: torch.Tensor,
    scale_N: torch.Tensor,
    alpha: torch.Tensor,
    on: float,
    off: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Exact DeCE for alpha in (0, 1) and smoothing above 0; see training.losses.dece for the formulas."""
    classes = logits_NV.shape[1]
    is_target_NV = torch.arange(classes)[None, :] == targets_N[:, None]
    p_NV = torch.softmax(logits_NV, dim=-1)
    p_t = p_NV.gather(1, targets_N[:, None]).squeeze(1)
    p_NV = torch.where(is_target_NV, 0.0, p_NV)
    others = p_NV.sum(dim=-1)
    base = (1.0 - alpha) * off
    kp_NV = p_NV * (alpha / base)
    w_NV = off * kp_NV / (1.0 + kp_NV)
    total = w_NV.sum(dim=-1)
    logs = torch.log1p(kp_NV).sum(dim=-1) + (classes - 1) * torch.log(base)
    blend_t = alpha * p_t + (1.0 - alpha) * on
    w_t = on * alpha * p_t / blend_t
    pull = others * w_t - p_t * total
    slope_NV = p_NV * (total + w_t)[:, None] - w_NV
    logits_NV.copy_(scale_N[:, None] * torch.where(is_target_NV, -pull[:, None], slope_NV))
    return -on * torch.log(blend_t) - off * logs, pull, others


@functools.cache
def _compiled() -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    return torch.compile(_rows, dynamic=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledDeceRows(DeceRows):
    """Exact DeCE through Inductor; alpha is a 0-dim tensor there, so an epoch compiles nothing again."""

    def rows_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor) -> RowResult:
        """See :class:`training.losses.row.RowLoss`.

        Raises:
            ValueError: a case that needs other formulas.
        """
        blend = self.blend(logits_NV.shape[1])
        if blend.floor > 0.0 or not blend.blended or not 0.0 < blend.off < math.inf:
            raise ValueError("compiled rows are exact DeCE with alpha below 1 and smoothing above 0")
        alpha = torch.tensor(self.alpha, dtype=logits_NV.dtype)
        loss, pull, others = _compiled()(logits_NV, targets_N, scale_N, alpha, blend.on, blend.off)
        return RowResult(loss=loss, pull=pull, others=others)
