"""The transcription of the artifact, against its formula written once more, class by class, in double."""

import math

import pytest
import torch

from benchmarks.artifact import artifact_dece
from benchmarks.artifact import smoothed_targets


def by_hand(logits: torch.Tensor, targets: list[int], *, alpha: float, e: float, ignored: int) -> list[float]:
    """Losses of rows."""
    losses = []
    for row, target in zip(logits.tolist(), targets, strict=True):
        total = math.fsum(math.exp(z) for z in row)
        loss = 0.0
        for c, z in enumerate(row):
            q = 1 - e if c == target else e / (len(row) - 1)
            p = min(max(math.exp(z) / total, 1e-7), 1.0)
            loss -= q * math.log(alpha * p + (1 - alpha) * q)
        losses.append(0.0 if target == ignored else loss)
    return losses


@pytest.mark.parametrize("alpha", [1.0, 0.985, 0.4])
@pytest.mark.parametrize("denominator", [None, 3])
def test_the_loss_is_the_formula(alpha: float, denominator: int | None) -> None:
    logits = 8.0 * torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits[1] = torch.tensor([40.0, 0, 0, 0, 0, 0, 0])  # every other class lies below the clamp
    targets = [3, 2, 0, 6, 0]
    loss = artifact_dece(
        logits,
        torch.tensor(targets),
        alpha=alpha,
        label_smoothing=0.05,
        ignore_index=0,
        denominator=denominator,
    )
    # Ignored rows count in the artifact's own mean.
    expected = sum(by_hand(logits, targets, alpha=alpha, e=0.05, ignored=0)) / (denominator or 5)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_classes_below_the_clamp_get_no_gradient_of_their_own() -> None:
    logits = torch.tensor([[40.0, 0.0, 0.0, 0.0]], requires_grad=True)
    loss = artifact_dece(logits, torch.tensor([1]), alpha=0.9, label_smoothing=0.05, ignore_index=3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    # Without the clamp the target would be pulled up; the artifact leaves it where it is.
    assert float(logits.grad[0, 1]) >= 0.0


def test_smoothed_targets_sum_to_one() -> None:
    smooth = smoothed_targets(torch.tensor([2, 0]), 5, 0.1)
    assert smooth.sum(dim=-1).tolist() == pytest.approx([1.0, 1.0])
    assert smooth[0].tolist() == pytest.approx([0.025, 0.025, 0.9, 0.025, 0.025])
