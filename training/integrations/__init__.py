"""The losses in other people's trainers: DeCE in a transformers Trainer or TRL's SFTTrainer, without our service."""

from training.integrations.dece_for_trainer import DeceForTrainer
from training.integrations.errors import IntegrationError
from training.integrations.errors import NotAttached
from training.integrations.errors import UnsupportedModel
from training.integrations.errors import UnsupportedSetting
from training.integrations.head import Head
from training.integrations.loss_for_trainer import LossForTrainer

__all__ = [
    "DeceForTrainer",
    "LossForTrainer",
    "Head",
    "IntegrationError",
    "UnsupportedModel",
    "UnsupportedSetting",
    "NotAttached",
]
