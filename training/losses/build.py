"""From the contract's description of a loss to the rows that compute it at a position of the run."""

from dataclasses import dataclass

import torch

from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from deploy.contract.method import GceLoss
from deploy.contract.method import InTrustLoss
from deploy.contract.method import LabelSmoothedLoss
from deploy.contract.method import Loss
from training.losses.backend import dece_rows
from training.losses.generalised_cross_entropy import GeneralisedCrossEntropyRows
from training.losses.in_trust import InTrustRows
from training.losses.row import RowLoss
from training.losses.schedule import AlphaSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledLoss:
    """The loss of an arm: one row loss for every position of the run."""

    described: Loss
    device: torch.device

    def at(self, *, epoch: int, step: int, total_steps: int) -> RowLoss:
        """The row loss in an epoch and at an optimizer step, both counted from 1.

        Raises:
            ValueError: ``alpha_base`` is still to be chosen.
        """
        match self.described:
            case CrossEntropyLoss():
                return dece_rows(alpha=1.0, label_smoothing=0.0, device=self.device)
            case LabelSmoothedLoss(label_smoothing=smoothing):
                return dece_rows(alpha=1.0, label_smoothing=smoothing, spread="all", device=self.device)
            case GceLoss(q=q):
                return GeneralisedCrossEntropyRows(q=q)
            case InTrustLoss() as constants:
                return InTrustRows(
                    cross_entropy_weight=constants.cross_entropy_weight,
                    distrust_weight=constants.distrust_weight,
                    delta=constants.delta,
                )
            case DeceLoss(alpha_base=alpha_base) as dece:
                if isinstance(alpha_base, str):
                    raise ValueError("alpha_base is auto: it has to be chosen before the training begins")
                falling = AlphaSchedule(alpha_base=alpha_base, kind=dece.schedule, span=dece.schedule_span)
                return dece_rows(
                    alpha=falling.alpha(epoch=epoch, step=step, total_steps=total_steps),
                    label_smoothing=dece.label_smoothing,
                    mode=dece.mode,
                    spread=dece.smoothing_spread,
                    device=self.device,
                )


def build_loss(described: Loss, *, device: torch.device) -> ScheduledLoss:
    """The loss that a spec asks for, on a device."""
    return ScheduledLoss(described=described, device=device)
