"""DeCE's rows, in plain torch and in C, against float64 transcriptions of the paper and of the artifact."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from loss_formulas import assert_gradients_close
from loss_formulas import assert_losses_close
from loss_formulas import dece as transcription
from loss_formulas import losses_and_gradient
from loss_formulas import random_rows
from loss_formulas import smoothed_labels

from training.losses.backend import dece_rows
from training.losses.dece import DeceRows
from training.losses.dece import blending_weight
from training.losses.row import RowResult

BACKENDS = ["torch", "native"]
CPU = torch.device("cpu")
BLENDS = [
    (0.985, 0.05),
    (0.99**20, 0.1),
    (0.8**10, 0.05),
    (0.8**20, 0.01),
    (0.5, 0.5),
    (1.0 - 1e-9, 0.05),
    (0.0, 0.05),
    (0.99, 0.0),
    (1e-6, 0.0),
    (1.0, 0.05),
    (1.0, 0.0),
]


def rows_of(
    backend: str,
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    scale: torch.Tensor | None = None,
    **options: Any,
) -> tuple[RowResult, torch.Tensor]:
    """The result and the gradient of a back end."""
    row = dece_rows(backend=backend, device=CPU, **options)  # type: ignore[arg-type]
    work = logits.clone()
    result = row.rows_(
        work, targets, torch.ones(len(targets), dtype=logits.dtype) if scale is None else scale
    )
    return result, work


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["exact", "parity"])
@pytest.mark.parametrize("spread", ["others", "all"])
@pytest.mark.parametrize(("alpha", "smoothing"), BLENDS)
@pytest.mark.parametrize(("classes", "scale"), [(2, 3.0), (3, 1.0), (33, 4.0), (1000, 12.0), (5000, 0.1)])
def test_loss_and_gradient_equal_the_formula(
    backend: str, mode: str, spread: str, alpha: float, smoothing: float, classes: int, scale: float
) -> None:
    logits, targets = random_rows(classes, classes=classes, scale=scale)
    result, gradient = rows_of(
        backend, logits, targets, alpha=alpha, label_smoothing=smoothing, mode=mode, spread=spread
    )
    truth, true_gradient = losses_and_gradient(
        lambda z: transcription(mode)(z, targets, alpha=alpha, smoothing=smoothing, spread=spread), logits
    )
    assert_losses_close(result.loss, truth)
    assert_gradients_close(gradient, true_gradient)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["exact", "parity"])
@pytest.mark.parametrize(("alpha", "smoothing"), [(0.985, 0.05), (0.8, 0.0), (1.0, 0.1)])
@pytest.mark.parametrize("scale", [0.5, 5.0, 30.0])
def test_loss_and_gradient_equal_the_formula_over_300_000_classes(
    backend: str, mode: str, alpha: float, smoothing: float, scale: float
) -> None:
    logits, targets = random_rows(int(scale), count=2, classes=300_000, scale=scale)
    result, gradient = rows_of(backend, logits, targets, alpha=alpha, label_smoothing=smoothing, mode=mode)
    truth, true_gradient = losses_and_gradient(
        lambda z: transcription(mode)(z, targets, alpha=alpha, smoothing=smoothing), logits
    )
    assert_losses_close(result.loss, truth)
    assert_gradients_close(gradient, true_gradient)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("alpha", "smoothing"), [(0.985, 0.05), (1.0, 0.05), (0.9, 0.0)])
def test_logits_of_ten_thousand_keep_their_accuracy(backend: str, alpha: float, smoothing: float) -> None:
    logits, targets = random_rows(4, classes=3000, scale=3.0)
    logits += torch.tensor([[1e4], [-1e4], [0.0], [1e4], [-1e4], [3.0], [1e3]])
    result, gradient = rows_of(backend, logits, targets, alpha=alpha, label_smoothing=smoothing)
    truth, true_gradient = losses_and_gradient(
        lambda z: transcription("exact")(z, targets, alpha=alpha, smoothing=smoothing), logits
    )
    assert_losses_close(result.loss, truth)
    assert_gradients_close(gradient, true_gradient)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loss_near_zero_keeps_its_digits_without_smoothing(backend: str) -> None:
    logits = torch.tensor([[12.0, 0.0, -1.0], [14.0, -3.0, 0.0]])
    targets = torch.tensor([0, 0])
    result, _ = rows_of(backend, logits, targets, alpha=0.9, label_smoothing=0.0)
    truth = transcription("exact")(logits, targets, alpha=0.9, smoothing=0.0)
    assert truth.max() < 1e-5
    torch.testing.assert_close(result.loss.double(), truth, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weight_next_to_one_keeps_a_hopeless_targets_loss(backend: str) -> None:
    logits = torch.tensor([[-33.0, 0.0, -1.0], [-36.0, 0.0, -9.0], [-60.0, 0.0, -9.0]])
    targets = torch.tensor([0, 0, 0])
    result, _ = rows_of(backend, logits, targets, alpha=1 - 2.0**-49, label_smoothing=0.0)
    truth = transcription("exact")(logits, targets, alpha=1 - 2.0**-49, smoothing=0.0)
    torch.testing.assert_close(result.loss.double(), truth, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("smoothing", [1e-12, 1e-30, 1e-44])
def test_vanishing_smoothing_still_blends(backend: str, smoothing: float) -> None:
    logits, targets = random_rows(3)
    tiny, gradient = rows_of(backend, logits, targets, alpha=0.9, label_smoothing=smoothing)
    none, without = rows_of(backend, logits, targets, alpha=0.9, label_smoothing=0.0)
    torch.testing.assert_close(tiny.loss, none.loss)
    torch.testing.assert_close(gradient, without)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["exact", "parity"])
@pytest.mark.parametrize(("alpha", "smoothing"), [(0.985, 0.05), (0.9, 0.0), (1.0, 0.05), (1.0, 0.0)])
def test_every_row_is_scaled_by_its_own_factor(
    backend: str, mode: str, alpha: float, smoothing: float
) -> None:
    logits, targets = random_rows(8)
    options = {"alpha": alpha, "label_smoothing": smoothing, "mode": mode}
    plain, gradient = rows_of(backend, logits, targets, **options)
    scale = torch.tensor([0.0, 1.0, -2.0, 0.5, 1e3, 7.0, 1e-3])
    scaled, scaled_gradient = rows_of(backend, logits, targets, scale=scale, **options)
    assert_gradients_close(scaled_gradient, gradient * scale[:, None], relative=1e-6)
    assert bool((scaled_gradient[0] == 0).all())
    torch.testing.assert_close(scaled.loss, plain.loss, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["exact", "parity"])
@pytest.mark.parametrize(("alpha", "smoothing"), BLENDS)
def test_pull_and_others_say_what_they_stand_for(
    backend: str, mode: str, alpha: float, smoothing: float
) -> None:
    logits, targets = random_rows(11, scale=2.0)
    result, gradient = rows_of(backend, logits, targets, alpha=alpha, label_smoothing=smoothing, mode=mode)
    each = torch.arange(len(targets))
    p_t = torch.softmax(logits.double(), dim=1)[each, targets]
    torch.testing.assert_close(result.pull, -gradient[each, targets])
    torch.testing.assert_close(result.others.double(), 1 - p_t, rtol=1e-5, atol=1e-12)


def test_others_keeps_its_digits_where_one_minus_p_has_none() -> None:
    logits = torch.tensor([[30.0, 0.0, 1.0]])
    for backend in BACKENDS:
        result, gradient = rows_of(backend, logits, torch.tensor([0]), alpha=1.0, label_smoothing=0.0)
        expected = (1 + math.e) * math.exp(-30)
        assert result.others.item() == pytest.approx(expected, rel=1e-5)
        assert gradient[0, 0].item() == pytest.approx(-expected, rel=1e-5)


def test_parity_and_exact_part_ways_where_probabilities_fall_under_the_clamp() -> None:
    logits, targets = random_rows(0, scale=12.0)
    exact, _ = rows_of("torch", logits, targets, alpha=0.99, label_smoothing=0.05)
    parity, _ = rows_of("torch", logits, targets, alpha=0.99, label_smoothing=0.05, mode="parity")
    assert not torch.allclose(exact.loss, parity.loss, rtol=1e-5)


def test_the_spreads_differ_and_reach_the_same_gradient_where_p_is_the_label() -> None:
    targets = torch.tensor([3])
    for spread in ("others", "all"):
        logits = smoothed_labels(targets, 40, smoothing=0.2, spread=spread).log()
        for alpha in (0.3, 0.9, 1.0):
            row = DeceRows(alpha=alpha, label_smoothing=0.2, spread=spread)  # type: ignore[arg-type]
            gradient = logits.clone()
            row.rows_(gradient, targets, torch.ones(1, dtype=torch.float64))
            assert gradient.abs().max() < 1e-15
            other = logits.clone()
            wrong = "all" if spread == "others" else "others"
            DeceRows(alpha=alpha, label_smoothing=0.2, spread=wrong).rows_(  # type: ignore[arg-type]
                other, targets, torch.ones(1, dtype=torch.float64)
            )
            assert other.abs().max() > 1e-6


def test_hard_tokens_hardly_move_the_weights() -> None:
    """The defence itself: at p_t = 0.001 DeCE's pull is a tenth of cross-entropy's in epoch 1, less later."""
    p_t = 1e-3
    logits = torch.log(torch.tensor([[p_t, 1 - p_t]]))
    pulls = []
    for alpha in (1.0, 0.99, 0.99**20):
        result, _ = rows_of("torch", logits, torch.tensor([0]), alpha=alpha, label_smoothing=0.0)
        pulls.append(result.pull.item())
    gate = (1 - 0.99) / 0.99
    assert pulls[1] / pulls[0] == pytest.approx(p_t / (p_t + gate), rel=1e-4)
    assert pulls[2] < 0.01 < pulls[1] < 0.1 < pulls[0]


def bounds_hold(
    gradient: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor, *, alpha: float, smoothing: float
) -> None:
    """Every bound of dece.py's docstring; S and p in float64."""
    classes, each = logits.shape[1], torch.arange(len(targets))
    p = torch.softmax(logits.double(), dim=1)
    q = smoothed_labels(targets, classes, smoothing=smoothing)
    weights = q * alpha * p / (alpha * p + (1 - alpha) * q)
    total = weights.sum(dim=1)
    wide = gradient.double()
    slack = 1e-5
    assert wide.sum(dim=1).abs().max() <= slack
    assert (wide.abs() <= torch.maximum(p * total[:, None], q) * (1 + slack) + 1e-9).all()
    assert (wide.abs().sum(dim=1) <= 2 * total * (1 + slack) + 1e-9).all()
    assert (total <= 1 + 1e-12).all()
    k = (1 - alpha) * (1 - smoothing) / alpha
    limit = (1 - smoothing) * (math.sqrt(1 + k) - math.sqrt(k)) ** 2
    assert (wide[each, targets].abs() <= limit * (1 + slack) + 1e-9).all()


SHAPES = [
    "gaussian",
    "equal",
    "one-hot on the target",
    "one-hot elsewhere",
    "masked",
    "all but the target masked",
]


def adversarial(shape: str, seed: int, classes: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that break careless arithmetic."""
    logits, targets = random_rows(seed, count=3, classes=classes, scale=scale)
    each = torch.arange(3)
    if shape == "equal":
        logits = torch.full_like(logits, scale)
    elif shape == "one-hot on the target":
        logits = torch.zeros_like(logits)
        logits[each, targets] = scale
    elif shape == "one-hot elsewhere":
        logits = torch.zeros_like(logits)
        logits[each, (targets + 1) % classes] = scale
    elif shape == "masked":
        generator = torch.Generator().manual_seed(seed)
        masked = torch.rand(logits.shape, generator=generator) < 0.5
        masked[each, (targets + 1) % classes] = False
        logits[masked] = -math.inf
    elif shape == "all but the target masked":
        kept = logits[each, targets]
        logits = torch.full_like(logits, -math.inf)
        logits[each, targets] = kept
    return logits, targets


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["exact", "parity"])
@given(
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4, -1e4]),
    classes=st.sampled_from([2, 3, 50, 4000]),
    alpha=st.floats(0.001, 0.9999),
    smoothing=st.floats(1e-4, 0.5),
)
@settings(max_examples=80)
def test_bounds_of_the_gradient_hold_for_any_logits(
    backend: str, mode: str, shape: str, seed: int, scale: float, classes: int, alpha: float, smoothing: float
) -> None:
    logits, targets = adversarial(shape, seed, classes, scale)
    result, gradient = rows_of(backend, logits, targets, alpha=alpha, label_smoothing=smoothing, mode=mode)
    assert torch.isfinite(gradient).all()
    limit = -(1 - smoothing) * math.log((1 - alpha) * (1 - smoothing)) - smoothing * math.log(
        (1 - alpha) * smoothing / (classes - 1)
    )
    assert (result.loss <= limit * (1 + 1e-5) + 1e-5).all()
    bounds_hold(gradient, logits, targets, alpha=alpha, smoothing=smoothing)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bounds_hold_over_300_000_classes(backend: str, shape: str) -> None:
    for scale, alpha in ((5.0, 0.985), (1e4, 0.8)):
        logits, targets = adversarial(shape, 1, 300_000, scale)
        _, gradient = rows_of(backend, logits, targets, alpha=alpha, label_smoothing=0.05)
        bounds_hold(gradient, logits, targets, alpha=alpha, smoothing=0.05)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("alpha", "smoothing"), [(1.0, 0.0), (1.0, 0.1), (0.9, 0.0), (0.9, 0.1)])
def test_masked_classes_have_no_probability_and_a_masked_target_the_formulas_loss(
    backend: str, alpha: float, smoothing: float
) -> None:
    logits, targets = random_rows(2, count=2, classes=6)
    logits[:, 5] = -math.inf
    targets = torch.tensor([1, 5])
    result, gradient = rows_of(backend, logits, targets, alpha=alpha, label_smoothing=smoothing)
    truth = transcription("exact")(logits, targets, alpha=alpha, smoothing=smoothing)
    torch.testing.assert_close(result.loss.double(), truth, rtol=1e-6, atol=1e-6)
    # A class at probability 0 is pulled only where its label asks for it and nothing gates the pull.
    asked = 0.0 if alpha < 1 else -smoothing / 5
    assert gradient[0, 5].item() == pytest.approx(asked)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["exact", "parity"])
@pytest.mark.parametrize(("alpha", "smoothing"), [(1.0, 0.0), (1.0, 0.1), (0.9, 0.0), (0.9, 0.1), (0.0, 0.1)])
@pytest.mark.parametrize("bad", ["nan", "nan target", "inf", "inf target", "all masked"])
def test_a_row_that_is_not_a_number_spoils_no_other(
    backend: str, mode: str, alpha: float, smoothing: float, bad: str
) -> None:
    logits, targets = random_rows(5)
    good = torch.arange(len(targets)) != 3
    _, clean_gradient = rows_of(backend, logits, targets, alpha=alpha, label_smoothing=smoothing, mode=mode)
    if bad == "all masked":
        logits[3] = -math.inf
    else:
        column = int(targets[3]) if "target" in bad else (int(targets[3]) + 1) % logits.shape[1]
        logits[3, column] = math.nan if "nan" in bad else math.inf
    result, gradient = rows_of(backend, logits, targets, alpha=alpha, label_smoothing=smoothing, mode=mode)
    assert result.loss[3].isnan()
    assert gradient[3].isnan().all()
    assert torch.isfinite(result.loss[good]).all()
    torch.testing.assert_close(gradient[good], clean_gradient[good], rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": 1.1}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"label_smoothing": math.nan}, "label_smoothing"),
        ({"mode": "fast"}, "mode='fast' must be 'exact' or 'parity'"),
        ({"spread": "none"}, "spread='none' must be 'others' or 'all'"),
    ],
)
def test_a_hyperparameter_out_of_range_is_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        DeceRows(**{"alpha": 0.9, "label_smoothing": 0.05, **changed})


def test_the_blending_weight_is_the_published_one() -> None:
    assert blending_weight(0.9, 1) == 0.9
    assert blending_weight(0.9, 2) == pytest.approx(0.81)
    assert blending_weight(0.8, 20) == pytest.approx(0.0115292150460684)
    assert blending_weight(0.99, 20) == pytest.approx(0.817906937597231)
    assert blending_weight(1.0, 50) == 1.0
    assert blending_weight(0.9, 0) == 1.0


@pytest.mark.parametrize("base", [0.0, -0.1, 1.01, math.nan, math.inf])
def test_a_base_out_of_range_is_named(base: float) -> None:
    with pytest.raises(ValueError, match="alpha_base"):
        blending_weight(base, 1)


@pytest.mark.parametrize("epoch", [-1, -0.5, math.nan])
def test_an_epoch_before_the_first_is_refused(epoch: float) -> None:
    with pytest.raises(ValueError, match="epoch"):
        blending_weight(0.9, epoch)
