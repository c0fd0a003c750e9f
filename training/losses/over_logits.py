"""Any row loss as a differentiable function of logits."""

import math
from dataclasses import dataclass

import torch
from torch.autograd.function import FunctionCtx
from torch.autograd.function import once_differentiable

from training.losses.chunk import rows_per_chunk
from training.losses.eager import eager
from training.losses.row import RowLoss
from training.losses.row import RowResult
from training.losses.supervised import IGNORE_INDEX
from training.losses.supervised import GradientMeter
from training.losses.supervised import Reduction
from training.losses.supervised import Supervised
from training.losses.supervised import row_scale
from training.losses.supervised import supervised_rows
from training.losses.upstream import passed_on


def row_dtype(dtype: torch.dtype) -> torch.dtype:
    """Precision of the row mathematics: fp64 for fp64, fp32 for everything else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def work_dtype(row: RowLoss, dtype: torch.dtype, softcap: float | None) -> torch.dtype:
    """What a chunk of logits is held in: half where the rows take it and nothing is done to it before."""
    return dtype if row.takes_half and softcap is None else row_dtype(dtype)


def check_softcap(softcap: float | None) -> None:
    """Raise ValueError unless it is None or positive and finite."""
    if softcap is not None and not 0.0 < softcap < math.inf:
        raise ValueError(f"softcap={softcap} must be positive and finite")


def capped_rows_(
    row: RowLoss,
    logits_NV: torch.Tensor,
    targets_N: torch.Tensor,
    scale_N: torch.Tensor,
    softcap: float | None,
) -> RowResult:
    """``row.rows_`` of ``softcap * tanh(logits / softcap)``, with the cap's slope in the gradient."""
    if softcap is None:
        return row.rows_(logits_NV, targets_N, scale_N)
    tanh_NV = logits_NV.div_(softcap).tanh_()
    slope_NV = 1.0 - tanh_NV.square()
    result = row.rows_(logits_NV.mul_(softcap), targets_N, scale_N)
    logits_NV.mul_(slope_NV)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    row: RowLoss
    chosen: Supervised
    softcap: float | None
    per_row: bool
    meter: GradientMeter | None


class _OverLogits(torch.autograd.Function):
    """Loss and gradient in one pass; the gradient is all that is kept for the backward."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, logits_RV: torch.Tensor, scale_N: torch.Tensor, work: _Work
    ) -> torch.Tensor:
        chosen = work.chosen
        count = chosen.targets_N.numel()
        dtype = work_dtype(work.row, logits_RV.dtype, work.softcap)
        step = rows_per_chunk(logits_RV.shape[1], dtype=dtype, device=logits_RV.device)
        whole = chosen.positions_N is None
        gradient_RV = (torch.empty_like if whole else torch.zeros_like)(
            logits_RV, memory_format=torch.contiguous_format
        )
        losses_N = torch.empty_like(scale_N)
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            at = part if chosen.positions_N is None else chosen.positions_N[part]
            # Where the chunk needs no other precision, the rows work inside the gradient's own memory.
            in_place = whole and dtype == logits_RV.dtype
            if in_place:
                chunk_NV = gradient_RV[part].copy_(logits_RV[part])
            else:
                chunk_NV = logits_RV[at].to(dtype, copy=True, memory_format=torch.contiguous_format)
            result = capped_rows_(work.row, chunk_NV, chosen.targets_N[part], scale_N[part], work.softcap)
            losses_N[part] = result.loss
            if work.meter is not None:
                work.meter.add(result)
            if not in_place:
                gradient_RV[at] = chunk_NV.to(logits_RV.dtype)
        ctx.save_for_backward(gradient_RV)
        ctx.per_row = work.per_row  # type: ignore[attr-defined]
        return chosen.put(losses_N) if work.per_row else (losses_N * scale_N).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient_RV,) = ctx.saved_tensors  # type: ignore[attr-defined]
        factor = upstream[:, None] if ctx.per_row else upstream  # type: ignore[attr-defined]
        return passed_on(gradient_RV, factor), None, None


@eager
def over_logits(
    logits_RV: torch.Tensor,
    targets_R: torch.Tensor,
    row: RowLoss,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: Reduction = "mean",
    num_items_in_batch: int | torch.Tensor | None = None,
    softcap: float | None = None,
    positions: torch.Tensor | None = None,
    meter: GradientMeter | None = None,
) -> torch.Tensor:
    """A row loss over [R, V] logits and [R] targets.

    Args:
        logits_RV: [R, V] floating point; the mathematics is fp32 (fp64 for fp64).
        targets_R: [R] integers in 0..V-1, or ``ignore_index``.
        row: the loss of a row.
        ignore_index: target of rows that do not count.
        reduction: ``mean`` over supervised rows, ``sum``, or ``none``: [R], zero where ignored.
        num_items_in_batch: see :func:`training.losses.supervised.row_scale`.
        softcap: the model's logits are ``softcap * tanh(logits / softcap)``.
        positions: [N] numbers of the supervised rows, where known.
        meter: counts the effective gradient weight.

    Returns:
        A scalar in the precision of the mathematics, or [R]; zero with zero gradient when no row is supervised.

    Raises:
        ValueError: shapes, dtypes, targets or options that do not fit.
    """
    if logits_RV.ndim != 2 or not logits_RV.dtype.is_floating_point:
        raise ValueError(
            f"logits {tuple(logits_RV.shape)} of {logits_RV.dtype} must be floating point [R, V]"
        )
    if logits_RV.shape[1] < 2:
        raise ValueError(f"{logits_RV.shape[1]} classes: at least 2 are needed")
    if logits_RV.device != targets_R.device:
        raise ValueError(f"logits are on {logits_RV.device}, targets on {targets_R.device}")
    check_softcap(softcap)
    chosen = supervised_rows(
        targets_R,
        rows=logits_RV.shape[0],
        classes=logits_RV.shape[1],
        ignore_index=ignore_index,
        positions=positions,
    )
    scale_N = row_scale(
        chosen, reduction=reduction, num_items_in_batch=num_items_in_batch, dtype=row_dtype(logits_RV.dtype)
    )
    work = _Work(row=row, chosen=chosen, softcap=softcap, per_row=reduction == "none", meter=meter)
    return _OverLogits.apply(logits_RV, scale_N, work)  # type: ignore[no-any-return,no-untyped-call]
