"""DeCE against independent float64 transcriptions of the paper's formula and of the artifact's arithmetic."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from training.losses import cross_entropy
from training.losses import dece
from training.losses import dece_parity
from training.losses.dece import blending_weight


def paper_loss(
    logits: torch.Tensor, targets: torch.Tensor, *, alpha: float, smoothing: float
) -> torch.Tensor:
    """Element by element from section 4 of the paper, in float64; shares no code with ours."""
    total = torch.zeros((), dtype=torch.float64)
    count, classes = logits.shape
    for row, target in zip(logits.double(), targets.tolist(), strict=True):
        p = row.exp() / row.exp().sum()
        for c in range(classes):
            label = 1 - smoothing if c == target else smoothing / (classes - 1)
            if label > 0:
                total = total - label * torch.log(alpha * p[c] + (1 - alpha) * label)
    return total / count


def artifact_loss(
    logits: torch.Tensor, targets: torch.Tensor, *, alpha: float, smoothing: float
) -> torch.Tensor:
    """The released artifact's order of operations in float64: softmax, clamp, smoothed one-hot, blend, log."""
    p = torch.softmax(logits.double(), dim=1).clamp(1e-7, 1.0)
    one_hot = torch.nn.functional.one_hot(targets, logits.shape[1]).double()
    smooth = one_hot * (1 - smoothing) + (1 - one_hot) * smoothing / (logits.shape[1] - 1)
    return -(smooth * torch.log(alpha * p + (1 - alpha) * smooth)).sum(1).mean()


def random_case(
    seed: int, *, count: int = 7, classes: int = 33, scale: float = 4.0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator) * scale
    return logits, torch.randint(classes, (count,), generator=generator)


def value_and_gradient(
    loss: object, logits: torch.Tensor, *args: object, **kwargs: object
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = logits.clone().requires_grad_(True)
    value = loss(leaf, *args, **kwargs)  # type: ignore[operator]
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


CASES = [
    (0.99, 0.05, 1),
    (0.99, 0.05, 12),
    (0.985, 0.1, 20),
    (0.8, 0.05, 10),
    (0.99, 0.0, 3),
    (1.0, 0.05, 4),
    (1.0, 0.0, 1),
]


@pytest.mark.parametrize(("alpha_base", "smoothing", "epoch"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_exact_equals_the_papers_formula(alpha_base: float, smoothing: float, epoch: int, seed: int) -> None:
    logits, targets = random_case(seed)
    ours, gradient = value_and_gradient(
        dece, logits, targets, epoch=epoch, alpha_base=alpha_base, label_smoothing=smoothing
    )
    truth, true_gradient = value_and_gradient(
        paper_loss, logits.double(), targets, alpha=alpha_base**epoch, smoothing=smoothing
    )
    assert ours.item() == pytest.approx(truth.item(), rel=1e-6)
    assert (gradient - true_gradient).norm() <= 1e-5 * true_gradient.norm()


@pytest.mark.parametrize(
    ("alpha_base", "smoothing", "epoch"), [case for case in CASES if case[0] < 1 and case[1] > 0]
)
@pytest.mark.parametrize("seed", range(3))
def test_parity_equals_the_artifacts_arithmetic(
    alpha_base: float, smoothing: float, epoch: int, seed: int
) -> None:
    # Scale 12 makes many probabilities fall under the clamp, where exact and parity part ways.
    logits, targets = random_case(seed, scale=12.0)
    ours, gradient = value_and_gradient(
        dece_parity, logits, targets, epoch=epoch, alpha_base=alpha_base, label_smoothing=smoothing
    )
    truth, true_gradient = value_and_gradient(
        artifact_loss, logits, targets, alpha=alpha_base**epoch, smoothing=smoothing
    )
    assert ours.item() == pytest.approx(truth.item(), rel=1e-6)
    assert (gradient - true_gradient).norm() <= 1e-5 * true_gradient.norm()


def test_parity_and_exact_part_ways_where_probabilities_fall_under_the_clamp() -> None:
    logits, targets = random_case(0, scale=12.0)
    parity = dece_parity(logits, targets, epoch=1, alpha_base=0.99, label_smoothing=0.05)
    exact = dece(logits, targets, epoch=1, alpha_base=0.99, label_smoothing=0.05)
    assert exact.item() != pytest.approx(parity.item(), rel=1e-5)


def test_gradient_is_the_numerical_one() -> None:
    logits, targets = random_case(5, count=3, classes=5)

    def loss(values: torch.Tensor) -> torch.Tensor:
        return dece(values.float(), targets, epoch=3, alpha_base=0.9, label_smoothing=0.1)

    _, gradient = value_and_gradient(loss, logits)
    step = 1e-2
    for row in range(3):
        for column in range(5):
            moved = logits.clone()
            moved[row, column] += step
            up = paper_loss(moved, targets, alpha=0.9**3, smoothing=0.1)
            moved[row, column] -= 2 * step
            down = paper_loss(moved, targets, alpha=0.9**3, smoothing=0.1)
            assert gradient[row, column].item() == pytest.approx(((up - down) / (2 * step)).item(), abs=1e-5)


def test_alpha_one_is_label_smoothed_cross_entropy_and_both_off_is_plain() -> None:
    logits, targets = random_case(1)
    assert dece(logits, targets, epoch=9, alpha_base=1.0, label_smoothing=0.0).item() == pytest.approx(
        cross_entropy(logits, targets).item(), rel=1e-6
    )


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    classes=st.sampled_from([2, 3, 50, 4000]),
    alpha=st.floats(0.05, 0.9999),
    smoothing=st.floats(1e-4, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_bounds_of_the_gradient_hold_for_any_logits(
    seed: int, scale: float, classes: int, alpha: float, smoothing: float
) -> None:
    logits, targets = random_case(seed, count=4, classes=classes, scale=scale)
    value, gradient = value_and_gradient(
        dece, logits, targets, epoch=1, alpha_base=alpha, label_smoothing=smoothing
    )
    per_token = gradient * 4
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    # kernel mathematics: the rows sum to zero, no entry exceeds 1, the L1 norm is at most 2.
    assert per_token.sum(1).abs().max() <= 1e-4
    assert per_token.abs().max() <= 1 + 1e-5
    assert per_token.abs().sum(1).max() <= 2 + 1e-4
    limit = -(1 - smoothing) * math.log((1 - alpha) * (1 - smoothing)) - smoothing * math.log(
        (1 - alpha) * smoothing / (classes - 1)
    )
    assert value.item() <= limit * (1 + 1e-4) + 1e-4


def test_hard_tokens_hardly_move_the_weights() -> None:
    """The defence itself: at p_t = 0.001 DeCE's target gradient is a tenth of cross-entropy's in epoch 1, less later."""
    p_t = 1e-3
    logits = torch.log(torch.tensor([[p_t, 1 - p_t]]))
    target = torch.tensor([0])
    _, plain = value_and_gradient(cross_entropy, logits, target)
    _, first = value_and_gradient(dece, logits, target, epoch=1, alpha_base=0.99, label_smoothing=0.0)
    _, twentieth = value_and_gradient(dece, logits, target, epoch=20, alpha_base=0.99, label_smoothing=0.0)
    gate = (1 - 0.99) / 0.99
    assert (first[0, 0] / plain[0, 0]).item() == pytest.approx(p_t / (p_t + gate), rel=1e-4)
    assert abs(twentieth[0, 0].item()) < 0.01 < abs(first[0, 0].item()) < 0.1 < abs(plain[0, 0].item())


def test_half_precision_logits_are_computed_in_fp32() -> None:
    logits, targets = random_case(2, classes=500)
    half, gradient = value_and_gradient(
        dece, logits.bfloat16(), targets, epoch=2, alpha_base=0.985, label_smoothing=0.05
    )
    whole = dece(logits.bfloat16().float(), targets, epoch=2, alpha_base=0.985, label_smoothing=0.05)
    assert gradient.dtype == torch.bfloat16
    assert half.item() == pytest.approx(whole.item(), rel=1e-6)


@pytest.mark.parametrize("loss", [dece, dece_parity])
def test_no_supervised_token_is_a_zero_loss_with_a_zero_gradient(loss: object) -> None:
    value, gradient = value_and_gradient(
        loss,
        torch.zeros(0, 9),
        torch.zeros(0, dtype=torch.long),
        epoch=1,
        alpha_base=0.9,
        label_smoothing=0.1,
    )
    assert value.item() == 0.0
    assert gradient.shape == (0, 9)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"alpha_base": 0.0}, "alpha_base"),
        ({"alpha_base": 1.5}, "alpha_base"),
        ({"alpha_base": float("nan")}, "alpha_base"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"epoch": 0}, "epoch"),
    ],
)
def test_a_hyperparameter_out_of_range_is_named(changed: dict[str, float], named: str) -> None:
    logits, targets = random_case(0)
    arguments: dict[str, float] = {"epoch": 1, "alpha_base": 0.99, "label_smoothing": 0.05, **changed}
    with pytest.raises(ValueError, match=named):
        dece(logits, targets, **arguments)  # type: ignore[arg-type]


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        dece(
            torch.zeros(3, 4), torch.zeros(2, dtype=torch.long), epoch=1, alpha_base=0.9, label_smoothing=0.1
        )
    with pytest.raises(ValueError, match="classes"):
        dece(
            torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), epoch=1, alpha_base=0.9, label_smoothing=0.1
        )


def test_the_first_epoch_is_one() -> None:
    assert blending_weight(0.9, 1) == 0.9
    assert blending_weight(0.9, 2) == pytest.approx(0.81)
