"""Losses over the logits of supervised tokens. Every loss takes the epoch, which only DeCE needs."""

from training.losses.build import TokenLoss
from training.losses.build import build_loss
from training.losses.cross_entropy import cross_entropy
from training.losses.dece import dece
from training.losses.dece import dece_parity

__all__ = ["TokenLoss", "build_loss", "cross_entropy", "dece", "dece_parity"]
