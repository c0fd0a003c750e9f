"""From the contract's description of a loss to the function that computes it."""

from typing import Protocol

import torch

from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from training.losses.cross_entropy import cross_entropy
from training.losses.dece import dece
from training.losses.dece import dece_parity


class TokenLoss(Protocol):
    """Mean loss of N supervised tokens."""

    def __call__(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, *, epoch: int) -> torch.Tensor:  # noqa: N803
        """[N, V] logits and [N] targets to a scalar; ``epoch`` counts from 1."""
        ...


def build_loss(described: DeceLoss | CrossEntropyLoss) -> TokenLoss:
    """The loss function that a spec asks for."""
    if isinstance(described, CrossEntropyLoss):
        return _plain
    compute = dece if described.mode == "exact" else dece_parity

    def deceptive(logits_NV: torch.Tensor, targets_N: torch.Tensor, *, epoch: int) -> torch.Tensor:  # noqa: N803
        return compute(
            logits_NV,
            targets_N,
            epoch=epoch,
            alpha_base=described.alpha_base,
            label_smoothing=described.label_smoothing,
        )

    return deceptive


def _plain(logits_NV: torch.Tensor, targets_N: torch.Tensor, *, epoch: int) -> torch.Tensor:  # noqa: N803
    del epoch
    return cross_entropy(logits_NV, targets_N)
