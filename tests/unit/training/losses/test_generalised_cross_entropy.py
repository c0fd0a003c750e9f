"""Generalised cross-entropy against the paper's formula in float64."""

import math

import pytest
import torch
from loss_formulas import assert_gradients_close
from loss_formulas import assert_losses_close
from loss_formulas import gce
from loss_formulas import losses_and_gradient
from loss_formulas import random_rows

from training.losses import generalised_cross_entropy
from training.losses.generalised_cross_entropy import GeneralisedCrossEntropyRows


@pytest.mark.parametrize("q", [0.1, 0.5, 0.7, 1.0])
@pytest.mark.parametrize(("classes", "scale"), [(2, 2.0), (33, 4.0), (5000, 8.0)])
@pytest.mark.parametrize("ignored", [False, True])
def test_loss_and_gradient_equal_the_formula(q: float, classes: int, scale: float, ignored: bool) -> None:
    logits, targets = random_rows(classes, count=12, classes=classes, scale=scale)
    truth, true_gradient = losses_and_gradient(lambda z: gce(z, targets, q=q), logits.double())
    keep = torch.ones(12, dtype=torch.bool)
    if ignored:
        keep[::5] = False
        targets = torch.where(keep, targets, -100)
    rows, gradient = losses_and_gradient(
        lambda z: generalised_cross_entropy(z, targets, q=q, reduction="none"), logits
    )
    assert_losses_close(rows[keep], truth[keep])
    assert_gradients_close(gradient[keep], true_gradient[keep])
    assert (rows[~keep] == 0).all()
    assert (gradient[~keep] == 0).all()
    mean = generalised_cross_entropy(logits, targets, q=q)
    assert mean.item() == pytest.approx(truth[keep].mean().item(), rel=1e-5)


def test_a_small_loss_keeps_its_digits() -> None:
    logits = torch.tensor([[15.0, 0.0, 0.0]])
    loss = generalised_cross_entropy(logits, torch.tensor([0]), q=0.5)
    truth = gce(logits, torch.tensor([0]), q=0.5)
    assert truth.item() < 1e-6
    assert loss.item() == pytest.approx(truth.item(), rel=1e-5)


def test_it_tends_to_cross_entropy_and_to_the_absolute_error() -> None:
    logits, targets = random_rows(1, scale=1.0)
    near_zero = generalised_cross_entropy(logits, targets, q=1e-5)
    plain = torch.nn.functional.cross_entropy(logits, targets)
    assert near_zero.item() == pytest.approx(plain.item(), rel=1e-3)
    one = generalised_cross_entropy(logits, targets, q=1.0)
    p_t = torch.softmax(logits, dim=1).gather(1, targets[:, None])
    assert one.item() == pytest.approx((1 - p_t).mean().item(), rel=1e-5)


@pytest.mark.parametrize("q", [0.0, -0.5, 1.1, math.nan])
def test_an_exponent_out_of_range_is_named(q: float) -> None:
    with pytest.raises(ValueError, match=r"q=.* must lie in \(0, 1\]"):
        GeneralisedCrossEntropyRows(q=q)


def test_a_masked_target_has_the_largest_loss_and_no_gradient() -> None:
    logits = torch.tensor([[0.0, 1.0, -math.inf]])
    rows, gradient = losses_and_gradient(
        lambda z: generalised_cross_entropy(z, torch.tensor([2]), q=0.5, reduction="none"), logits
    )
    assert rows.item() == pytest.approx(2.0)
    assert (gradient == 0).all()
