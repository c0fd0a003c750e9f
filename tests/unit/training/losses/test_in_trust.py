"""In-trust against the artifact's order of operations in float64."""

import math
from typing import Any

import pytest
import torch
from loss_formulas import artifact_in_trust
from loss_formulas import assert_gradients_close
from loss_formulas import assert_losses_close
from loss_formulas import losses_and_gradient
from loss_formulas import random_rows

from training.losses import in_trust
from training.losses.in_trust import InTrustRows


@pytest.mark.parametrize(
    ("weights", "delta"), [((0.2, 0.8), 0.5), ((1.0, 0.0), 0.5), ((0.0, 1.0), 0.3), ((0.5, 2.0), 0.0)]
)
@pytest.mark.parametrize(("classes", "scale"), [(2, 2.0), (33, 4.0), (5000, 8.0)])
@pytest.mark.parametrize("ignored", [False, True])
def test_loss_and_gradient_equal_the_artifacts(
    weights: tuple[float, float], delta: float, classes: int, scale: float, ignored: bool
) -> None:
    logits, targets = random_rows(classes, count=12, classes=classes, scale=scale)
    truth, true_gradient = losses_and_gradient(
        lambda z: artifact_in_trust(z, targets, weights=weights, delta=delta), logits.double()
    )
    keep = torch.ones(12, dtype=torch.bool)
    if ignored:
        keep[::5] = False
        targets = torch.where(keep, targets, -100)
    options: dict[str, Any] = {
        "cross_entropy_weight": weights[0],
        "distrust_weight": weights[1],
        "delta": delta,
    }
    rows, gradient = losses_and_gradient(lambda z: in_trust(z, targets, reduction="none", **options), logits)
    assert_losses_close(rows[keep], truth[keep])
    assert_gradients_close(gradient[keep], true_gradient[keep])
    assert (rows[~keep] == 0).all()
    assert (gradient[~keep] == 0).all()
    mean = in_trust(logits, targets, **options)
    assert mean.item() == pytest.approx(truth[keep].mean().item(), rel=1e-5)


def test_the_defaults_are_the_artifacts_constants() -> None:
    logits, targets = random_rows(2)
    truth = artifact_in_trust(logits, targets, weights=(0.2, 0.8), delta=0.5).mean()
    assert in_trust(logits, targets).item() == pytest.approx(truth.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"cross_entropy_weight": -0.1}, "weights"),
        ({"distrust_weight": -0.1}, "weights"),
        ({"cross_entropy_weight": math.nan}, "weights"),
        ({"delta": 1.0}, "delta=1.0"),
        ({"delta": -0.1}, "delta=-0.1"),
        ({"delta": math.nan}, "delta=nan"),
    ],
)
def test_a_hyperparameter_out_of_range_is_named(changed: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        InTrustRows(**changed)


def test_a_row_that_is_not_a_number_spoils_no_other() -> None:
    logits, targets = random_rows(3)
    logits[4, 0] = math.nan
    rows, gradient = losses_and_gradient(lambda z: in_trust(z, targets, reduction="none"), logits)
    assert rows.isnan().nonzero().flatten().tolist() == [4]
    assert gradient.isnan().any(dim=1).nonzero().flatten().tolist() == [4]
