"""DeCE as modules that know which epoch it is."""

from typing import Any
from typing import Unpack

import torch
from torch import nn

from training.losses.backend import Backend
from training.losses.dece import DeceRows
from training.losses.dece import Mode
from training.losses.dece import Spread
from training.losses.eager import eager
from training.losses.functional import dece
from training.losses.functional import linear_dece
from training.losses.schedule import PAPER_EPOCHS
from training.losses.schedule import AlphaSchedule
from training.losses.schedule import Schedule
from training.losses.supervised import RowOptions


class _Scheduled(nn.Module):
    """Hyperparameters, and the blending weight as a 0-dim CPU tensor that is not part of a checkpoint."""

    def __init__(
        self,
        *,
        alpha_base: float = 0.99,
        label_smoothing: float = 0.05,
        mode: Mode = "exact",
        spread: Spread = "others",
        schedule: Schedule = "epoch",
        span: float = PAPER_EPOCHS,
        backend: Backend = "auto",
        **options: Unpack[RowOptions],
    ) -> None:
        super().__init__()
        # Says what is wrong with them now, not in the first step.
        DeceRows(alpha=1.0, label_smoothing=label_smoothing, mode=mode, spread=spread)
        self.schedule = AlphaSchedule(alpha_base=alpha_base, kind=schedule, span=span)
        self._fixed: dict[str, Any] = {
            "label_smoothing": label_smoothing,
            "mode": mode,
            "spread": spread,
            "backend": backend,
            **options,
        }
        # Not a buffer: .to(device) would carry it to a GPU, and reading it there would stall every step.
        self._alpha = torch.ones((), dtype=torch.float64, device="cpu")
        if schedule == "epoch":
            self.at(epoch=1)

    @property
    def alpha(self) -> float:
        """The blending weight in force."""
        return self._alpha.item()

    def at(self, *, epoch: int, step: int = 1, total_steps: int | None = None) -> None:
        """Move to a position of the run, both counted from 1; schedule ``step`` needs ``total_steps``.

        Until it is called, schedule ``epoch`` is in its first epoch and ``step`` before its first step, at 1.

        Raises:
            ValueError: no such position, or schedule ``step`` without ``total_steps``.
        """
        if self.schedule.kind == "step" and total_steps is None:
            raise ValueError("schedule 'step' needs total_steps, the optimizer steps of the run")
        total = max(step, 1) if total_steps is None else total_steps
        self._alpha.fill_(self.schedule.alpha(epoch=epoch, step=step, total_steps=total))


class DeceLoss(_Scheduled):
    """DeCE of logits, in place of ``nn.CrossEntropyLoss``. Call :meth:`at` at the start of every epoch (or step).

    Options of :func:`training.losses.dece` may be given to the constructor, or to a call.
    """

    @eager
    def forward(
        self, logits_RV: torch.Tensor, targets_R: torch.Tensor, **options: Unpack[RowOptions]
    ) -> torch.Tensor:
        """[R, V] logits and [R] targets to the loss."""
        return dece(logits_RV, targets_R, alpha=self._alpha, **{**self._fixed, **options})


class LinearDeceLoss(_Scheduled):
    """DeCE of hidden states and a head, whose logits are never held at once. Otherwise as :class:`DeceLoss`."""

    @eager
    def forward(
        self,
        hidden_RH: torch.Tensor,
        weight_VH: torch.Tensor,
        targets_R: torch.Tensor,
        bias_V: torch.Tensor | None = None,
        **options: Unpack[RowOptions],
    ) -> torch.Tensor:
        """[R, H] hidden states, [V, H] weights and [R] targets to the loss."""
        return linear_dece(
            hidden_RH, weight_VH, targets_R, alpha=self._alpha, bias_V=bias_V, **{**self._fixed, **options}
        )
