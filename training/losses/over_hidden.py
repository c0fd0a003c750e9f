"""Any row loss fused with the head before it: the logits exist one chunk of rows at a time.

    logits = hidden @ weight.T + bias;   d hidden = d logits @ weight;   d weight = d logits.T @ hidden

Three products a chunk, two when the head is frozen (LoRA), and the row mathematics in between, in the
chunk's own memory. The gradients are ready when the forward ends; the backward only scales them.
"""

from dataclasses import dataclass
from dataclasses import replace

import torch
from torch.autograd.function import FunctionCtx
from torch.autograd.function import once_differentiable

from training.losses.chunk import rows_per_chunk
from training.losses.eager import eager
from training.losses.logits import logits_
from training.losses.over_logits import capped_rows_
from training.losses.over_logits import check_softcap
from training.losses.over_logits import row_dtype
from training.losses.over_logits import work_dtype
from training.losses.row import RowLoss
from training.losses.supervised import IGNORE_INDEX
from training.losses.supervised import GradientMeter
from training.losses.supervised import Reduction
from training.losses.supervised import row_scale
from training.losses.supervised import supervised_rows
from training.losses.upstream import passed_on


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What one call needs beside its tensors."""

    row: RowLoss
    targets_N: torch.Tensor
    softcap: float | None
    chunk_rows: int
    meter: GradientMeter | None


@dataclass(slots=True)
class _Gradients:
    hidden_NH: torch.Tensor | None
    weight_VH: torch.Tensor | None
    bias_V: torch.Tensor | None


_NONE = _Gradients(None, None, None)


def _sweep(
    hidden_NH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    *,
    scale_N: torch.Tensor,
    head: _Head,
    gradients: _Gradients,
) -> torch.Tensor:
    """One pass over all chunks: losses [N], and the gradients that are wanted, in place."""
    count, classes = hidden_NH.shape[0], weight_VH.shape[0]
    losses_N = torch.empty_like(scale_N)
    memory = hidden_NH.new_empty(min(head.chunk_rows, max(count, 1)), classes)
    for start in range(0, count, head.chunk_rows):
        part = slice(start, min(start + head.chunk_rows, count))
        rows_nH = hidden_NH[part]
        logits_nV = logits_(rows_nH, weight_VH, memory[: rows_nH.shape[0]])
        if bias_V is not None:
            logits_nV.add_(bias_V)
        work_nV = logits_nV.to(work_dtype(head.row, logits_nV.dtype, head.softcap))
        result = capped_rows_(head.row, work_nV, head.targets_N[part], scale_N[part], head.softcap)
        losses_N[part] = result.loss
        if head.meter is not None:
            head.meter.add(result)
        slope_nV = logits_nV if work_nV is logits_nV else logits_nV.copy_(work_nV)
        if gradients.hidden_NH is not None:
            torch.mm(slope_nV, weight_VH, out=gradients.hidden_NH[part])
        if gradients.weight_VH is not None:
            gradients.weight_VH.addmm_(slope_nV.t(), rows_nH, beta=0.0 if start == 0 else 1.0)
        if gradients.bias_V is not None:
            gradients.bias_V.add_(slope_nV.sum(dim=0))
    return losses_N


def _wanted(
    wants: tuple[bool, bool, bool],
    hidden_NH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
) -> _Gradients:
    # The first chunk writes the weight's gradient and later ones add; without a chunk it must be zero.
    fresh = torch.empty_like if hidden_NH.shape[0] else torch.zeros_like
    return _Gradients(
        hidden_NH=torch.empty_like(hidden_NH) if wants[0] else None,
        weight_VH=fresh(weight_VH) if wants[1] else None,
        bias_V=torch.zeros_like(bias_V) if wants[2] and bias_V is not None else None,
    )


class _OverHidden(torch.autograd.Function):
    """Reductions to a scalar: the gradients are formed in the forward pass."""

    @staticmethod
    def forward(  # noqa: PLR0917 - apply knows no keywords
        ctx: FunctionCtx,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        scale_N: torch.Tensor,
        head: _Head,
    ) -> torch.Tensor:
        wants = ctx.needs_input_grad[:3]  # type: ignore[attr-defined]
        gradients = _wanted(wants, hidden_NH, weight_VH, bias_V)
        losses_N = _sweep(hidden_NH, weight_VH, bias_V, scale_N=scale_N, head=head, gradients=gradients)
        ctx.save_for_backward(gradients.hidden_NH, gradients.weight_VH, gradients.bias_V)  # type: ignore[arg-type]
        return (losses_N * scale_N).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients = ctx.saved_tensors  # type: ignore[attr-defined]
        return (*(None if one is None else passed_on(one, upstream) for one in gradients), None, None)


class _OverHiddenRows(torch.autograd.Function):
    """Reduction ``none``: what each row counts is known in the backward pass only, which does the work again."""

    @staticmethod
    def forward(  # noqa: PLR0917 - apply knows no keywords
        ctx: FunctionCtx,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        scale_N: torch.Tensor,
        head: _Head,
    ) -> torch.Tensor:
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V)  # type: ignore[arg-type]
        ctx.head = head  # type: ignore[attr-defined]
        return _sweep(hidden_NH, weight_VH, bias_V, scale_N=scale_N, head=head, gradients=_NONE)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_NH, weight_VH, bias_V = ctx.saved_tensors  # type: ignore[attr-defined]
        kept: _Head = ctx.head  # type: ignore[attr-defined]
        # What the rows pulled was counted in the forward pass.
        head = replace(kept, meter=None)
        gradients = _wanted(ctx.needs_input_grad[:3], hidden_NH, weight_VH, bias_V)  # type: ignore[attr-defined]
        _sweep(hidden_NH, weight_VH, bias_V, scale_N=upstream_N.contiguous(), head=head, gradients=gradients)
        return gradients.hidden_NH, gradients.weight_VH, gradients.bias_V, None, None


@eager
def over_hidden(
    hidden_RH: torch.Tensor,
    weight_VH: torch.Tensor,
    targets_R: torch.Tensor,
    row: RowLoss,
    *,
    bias_V: torch.Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: Reduction = "mean",
    num_items_in_batch: int | torch.Tensor | None = None,
    softcap: float | None = None,
    positions: torch.Tensor | None = None,
    meter: GradientMeter | None = None,
    chunk_rows: int | None = None,
) -> torch.Tensor:
    """A row loss over ``hidden @ weight.T + bias``; only supervised rows are multiplied, chunk by chunk.

    Args:
        hidden_RH: [R, H] last hidden states.
        weight_VH: [V, H] of the head; may be tied to the embedding, may be frozen.
        targets_R: [R] integers in 0..V-1, or ``ignore_index``.
        row: the loss of a row.
        bias_V: [V] of the head.
        ignore_index: as in :func:`training.losses.over_logits.over_logits`, and so are ``reduction``,
            ``num_items_in_batch``, ``softcap``, ``positions`` and ``meter``.
        reduction: see there; ``none`` does the products of the forward pass twice.
        num_items_in_batch: see there.
        softcap: see there.
        positions: see there.
        meter: see there.
        chunk_rows: rows at a time; chosen from V where None.

    Under autocast the products run in autocast's precision, as a linear layer's would. In bf16 the head's
    gradient is added up in bf16 over the chunks, of which there are few on a GPU.

    Raises:
        ValueError: shapes, dtypes, devices, targets or options that do not fit.
    """
    _check(hidden_RH, weight_VH, bias_V, targets_R, chunk_rows)
    check_softcap(softcap)
    device = hidden_RH.device
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
        hidden_RH, weight_VH = hidden_RH.to(dtype), weight_VH.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
    elif hidden_RH.dtype != weight_VH.dtype or (bias_V is not None and bias_V.dtype != weight_VH.dtype):
        bias = "" if bias_V is None else f", its bias {bias_V.dtype}"
        raise ValueError(
            f"hidden states are {hidden_RH.dtype}, the head is {weight_VH.dtype}{bias}: one dtype is needed"
        )
    classes = weight_VH.shape[0]
    chosen = supervised_rows(
        targets_R, rows=hidden_RH.shape[0], classes=classes, ignore_index=ignore_index, positions=positions
    )
    scale_N = row_scale(
        chosen, reduction=reduction, num_items_in_batch=num_items_in_batch, dtype=row_dtype(hidden_RH.dtype)
    )
    head = _Head(
        row=row,
        targets_N=chosen.targets_N,
        softcap=softcap,
        chunk_rows=chunk_rows or rows_per_chunk(classes, dtype=hidden_RH.dtype, device=device),
        meter=meter,
    )
    hidden_NH = chosen.take(hidden_RH).contiguous()
    function = _OverHiddenRows if reduction == "none" else _OverHidden
    if not torch.is_grad_enabled():
        hidden_NH, weight_VH = hidden_NH.detach(), weight_VH.detach()
        bias_V = None if bias_V is None else bias_V.detach()
    with torch.autocast(device.type, enabled=False):
        losses: torch.Tensor = function.apply(hidden_NH, weight_VH, bias_V, scale_N, head)  # type: ignore[no-untyped-call]
        return chosen.put(losses) if reduction == "none" else losses


def _check(
    hidden_RH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    targets_R: torch.Tensor,
    chunk_rows: int | None,
) -> None:
    if hidden_RH.ndim != 2 or weight_VH.ndim != 2 or hidden_RH.shape[1] != weight_VH.shape[1]:
        raise ValueError(
            f"hidden states {tuple(hidden_RH.shape)} and head {tuple(weight_VH.shape)} do not fit [R, H] and [V, H]"
        )
    if not hidden_RH.dtype.is_floating_point:
        raise ValueError(f"hidden states are {hidden_RH.dtype}: floating point is needed")
    if weight_VH.shape[0] < 2:
        raise ValueError(f"{weight_VH.shape[0]} classes: at least 2 are needed")
    if bias_V is not None and bias_V.shape != weight_VH.shape[:1]:
        raise ValueError(f"bias {tuple(bias_V.shape)} does not fit {weight_VH.shape[0]} classes")
    places = {str(one.device) for one in (hidden_RH, weight_VH, targets_R, bias_V) if one is not None}
    if len(places) > 1:
        raise ValueError(f"hidden states, head and targets are on different devices: {sorted(places)}")
    if chunk_rows is not None and chunk_rows < 1:
        raise ValueError(f"chunk_rows={chunk_rows} must be at least 1")
