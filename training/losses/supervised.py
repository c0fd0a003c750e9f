"""Which rows are supervised, and what each counts: the ignored target and the reductions of every loss here."""

from dataclasses import dataclass
from typing import Literal
from typing import TypedDict

import torch

from training.losses.row import RowResult

IGNORE_INDEX = -100
Reduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised:
    """The N supervised rows among R."""

    rows: int
    """R."""
    positions_N: torch.Tensor | None
    """Row numbers; None when every row is supervised."""
    targets_N: torch.Tensor

    def take(self, values_R: torch.Tensor) -> torch.Tensor:
        """The supervised ones of R rows."""
        return values_R if self.positions_N is None else values_R.index_select(0, self.positions_N)

    def put(self, values_N: torch.Tensor) -> torch.Tensor:
        """Back among R rows; the ignored ones are zero."""
        if self.positions_N is None:
            return values_N
        spread = values_N.new_zeros(self.rows, *values_N.shape[1:])
        return spread.index_copy_(0, self.positions_N, values_N)


def supervised_rows(
    targets_R: torch.Tensor,
    *,
    rows: int,
    classes: int,
    ignore_index: int = IGNORE_INDEX,
    positions: torch.Tensor | None = None,
) -> Supervised:
    """Find the supervised rows and check their targets.

    Args:
        targets_R: [R] integer classes, ``ignore_index`` where a row is not supervised.
        rows: R, of the logits or hidden states.
        classes: V.
        ignore_index: marks ignored rows; need not be a class.
        positions: [N] row numbers of the supervised rows where the caller knows them. Finding them
            makes a GPU wait for the host once; given, nothing does.

    Raises:
        ValueError: targets of another shape, dtype or range. On CUDA the range is asserted on the device.
    """
    if targets_R.shape != (rows,):
        raise ValueError(f"targets {tuple(targets_R.shape)} do not fit {rows} rows")
    if targets_R.is_floating_point() or targets_R.is_complex() or targets_R.dtype == torch.bool:
        raise ValueError(f"targets are {targets_R.dtype}: class numbers must be integers")
    targets_R = targets_R.to(torch.int64)
    if positions is None:
        keep_R = targets_R != ignore_index
        positions = keep_R.nonzero().squeeze(1)
    if positions.numel() == rows:
        chosen = Supervised(rows=rows, positions_N=None, targets_N=targets_R)
    else:
        chosen = Supervised(rows=rows, positions_N=positions, targets_N=targets_R.index_select(0, positions))
    _check_range(chosen, classes)
    return chosen


def _check_range(chosen: Supervised, classes: int) -> None:
    targets_N = chosen.targets_N
    if targets_N.numel() == 0:
        return
    outside_N = (targets_N < 0) | (targets_N >= classes)
    if targets_N.device.type != "cpu":
        torch._assert_async(~outside_N.any(), f"a target lies outside 0..{classes - 1}")
    elif bool(outside_N.any()):
        at = int(outside_N.nonzero()[0])
        row = at if chosen.positions_N is None else int(chosen.positions_N[at])
        raise ValueError(f"target {int(targets_N[at])} in row {row} lies outside 0..{classes - 1}")


def row_scale(
    chosen: Supervised,
    *,
    reduction: Reduction,
    num_items_in_batch: int | torch.Tensor | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """What each of the N rows counts, [N].

    ``mean`` is over the supervised rows. ``num_items_in_batch`` is their number in the whole batch that
    an optimizer step sees, of which this may be a part: the parts' losses and gradients then add up to
    the whole batch's mean (reduction must be ``mean``, which it stands for, or ``sum``, which it divides).
    It may be 0 where no row is supervised.

    Raises:
        ValueError: an unknown reduction, ``num_items_in_batch`` with ``none``, or one below 1 although
            rows are supervised (one on CUDA is not looked at: the host would wait).
    """
    if reduction not in {"mean", "sum", "none"}:
        raise ValueError(f"reduction={reduction!r} must be 'mean', 'sum' or 'none'")
    count = chosen.targets_N.numel()
    ones = torch.ones(count, dtype=dtype, device=chosen.targets_N.device)
    if num_items_in_batch is None:
        return ones / max(count, 1) if reduction == "mean" else ones
    if reduction == "none":
        raise ValueError("num_items_in_batch needs reduction 'mean' or 'sum': 'none' divides by nothing")
    on_host = not isinstance(num_items_in_batch, torch.Tensor) or num_items_in_batch.device.type == "cpu"
    if on_host and num_items_in_batch < min(count, 1):
        raise ValueError(f"num_items_in_batch={int(num_items_in_batch)} must be at least 1")
    if isinstance(num_items_in_batch, torch.Tensor):
        return ones / num_items_in_batch.to(ones.device, dtype)
    return ones / max(num_items_in_batch, 1)


def gradient_weight(pull: float, plain: float) -> float:
    """What the rows pull over what cross-entropy would on the same logits; 1 where nothing is left to pull."""
    return pull / plain if plain != 0.0 else 1.0


class GradientMeter:
    """Sums what the rows pull, over as many calls as wanted: the effective gradient weight of a step.

    Hand one to a loss function; nothing waits for a GPU until :meth:`value` is asked.
    """

    def __init__(self) -> None:
        self._pull: torch.Tensor | float = 0.0
        self._plain: torch.Tensor | float = 0.0

    def add(self, result: RowResult) -> None:
        """Count the rows of one call."""
        self._pull = self._pull + result.pull.sum()
        self._plain = self._plain + result.others.sum()

    def sums(self) -> tuple[float, float]:
        """What the rows pulled, and what cross-entropy would have pulled on the same logits."""
        return float(self._pull), float(self._plain)

    def value(self) -> float:
        """Pull of the targets over that of cross-entropy on the same logits; 1 for cross-entropy.

        DeCE's falls with the epoch, down to 1/35 with ``alpha_base`` .8 in epoch 10: a schedule that
        looks converged may only be gated. 1 where nothing is left to pull.
        """
        return gradient_weight(*self.sums())


class RowOptions(TypedDict, total=False):
    """What every loss function takes beside its hyperparameters; see ``over_logits``."""

    ignore_index: int
    reduction: Reduction
    num_items_in_batch: int | torch.Tensor | None
    softcap: float | None
    positions: torch.Tensor | None
    meter: GradientMeter | None
