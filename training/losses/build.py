"""From the contract's description of a loss to the rows that compute it at a position of the run."""

from dataclasses import dataclass

import torch

from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from training.losses.backend import dece_rows
from training.losses.row import RowLoss
from training.losses.schedule import AlphaSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledLoss:
    """The loss of an arm: one row loss for every position of the run."""

    described: DeceLoss | CrossEntropyLoss
    device: torch.device

    def at(self, *, epoch: int, step: int, total_steps: int) -> RowLoss:
        """The row loss in an epoch and at an optimizer step, both counted from 1."""
        described = self.described
        if isinstance(described, CrossEntropyLoss):
            return dece_rows(alpha=1.0, label_smoothing=0.0, device=self.device)
        schedule = AlphaSchedule(
            alpha_base=described.alpha_base, kind=described.schedule, span=described.schedule_span
        )
        return dece_rows(
            alpha=schedule.alpha(epoch=epoch, step=step, total_steps=total_steps),
            label_smoothing=described.label_smoothing,
            mode=described.mode,
            spread=described.smoothing_spread,
            device=self.device,
        )


def build_loss(described: DeceLoss | CrossEntropyLoss, *, device: torch.device) -> ScheduledLoss:
    """The loss that a spec asks for, on a device."""
    return ScheduledLoss(described=described, device=device)
