"""Losses over supervised tokens: DeCE and the losses it is compared with, over logits or fused with the head."""

from training.losses.build import ScheduledLoss
from training.losses.build import build_loss
from training.losses.dece import blending_weight
from training.losses.functional import cross_entropy
from training.losses.functional import dece
from training.losses.functional import generalised_cross_entropy
from training.losses.functional import in_trust
from training.losses.functional import label_smoothed_cross_entropy
from training.losses.functional import linear_dece
from training.losses.module import DeceLoss
from training.losses.module import LinearDeceLoss
from training.losses.native import KernelUnavailable
from training.losses.over_hidden import over_hidden
from training.losses.over_logits import over_logits
from training.losses.row import RowLoss
from training.losses.schedule import AlphaSchedule
from training.losses.supervised import GradientMeter
from training.losses.supervised import gradient_weight

__all__ = [
    "dece",
    "linear_dece",
    "DeceLoss",
    "LinearDeceLoss",
    "AlphaSchedule",
    "blending_weight",
    "GradientMeter",
    "gradient_weight",
    "cross_entropy",
    "label_smoothed_cross_entropy",
    "generalised_cross_entropy",
    "in_trust",
    "RowLoss",
    "over_logits",
    "over_hidden",
    "KernelUnavailable",
    "ScheduledLoss",
    "build_loss",
]
