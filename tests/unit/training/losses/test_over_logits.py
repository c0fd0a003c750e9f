"""A row loss over logits: gradients by autograd's own check, reductions, precisions, and input that does not fit."""

import math
import sys
from typing import Any

import pytest
import torch
from loss_formulas import assert_gradients_close
from loss_formulas import assert_losses_close
from loss_formulas import losses_and_gradient
from loss_formulas import paper_dece
from loss_formulas import random_rows

from training.losses.backend import dece_rows
from training.losses.generalised_cross_entropy import GeneralisedCrossEntropyRows
from training.losses.in_trust import InTrustRows
from training.losses.over_logits import over_logits
from training.losses.row import RowLoss

BACKENDS = ["torch", "native"]
CPU = torch.device("cpu")
ALPHA, SMOOTHING = 0.985, 0.05


def row_of(backend: str = "torch", **options: Any) -> RowLoss:
    return dece_rows(
        **{"alpha": ALPHA, "label_smoothing": SMOOTHING, "backend": backend, "device": CPU, **options}
    )


ROWS: dict[str, RowLoss] = {
    "dece": row_of(),
    "dece as printed": row_of(spread="all"),
    "parity": row_of(mode="parity"),
    "gated": row_of(label_smoothing=0.0),
    "smoothed": row_of(alpha=1.0),
    "plain": row_of(alpha=1.0, label_smoothing=0.0),
    "gce": GeneralisedCrossEntropyRows(),
    "in-trust": InTrustRows(),
}
TARGETS = torch.tensor([2, -100, 0, 5, -100])


def wide_logits(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 6, generator=generator, dtype=torch.float64).requires_grad_(True)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"num_items_in_batch": 11},
        {"softcap": 2.0},
        {"softcap": 2.0, "reduction": "none"},
    ],
    ids=str,
)
def test_gradient_is_the_numerical_one(name: str, options: dict[str, Any]) -> None:
    assert torch.autograd.gradcheck(
        lambda logits: over_logits(logits, TARGETS, ROWS[name], **options), (wide_logits(),)
    )


@pytest.mark.parametrize("name", ["dece", "plain"])
def test_i3_gradient_is_the_numerical_one_where_every_row_counts(name: str) -> None:
    targets = torch.tensor([0, 1, 2, 3, 4])
    assert torch.autograd.gradcheck(lambda z: over_logits(z, targets, ROWS[name]), (wide_logits(),))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ignored", [False, True])
def test_reductions_agree(backend: str, ignored: bool) -> None:
    logits, targets = random_rows(1, count=40, classes=50)
    if ignored:
        targets[::3] = -100
    row = row_of(backend)
    rows = over_logits(logits, targets, row, reduction="none")
    count = int((targets != -100).sum())
    assert rows.shape == (40,)
    assert (rows[targets == -100] == 0).all()
    assert_losses_close(over_logits(logits, targets, row, reduction="sum"), rows.sum())
    assert_losses_close(over_logits(logits, targets, row), rows.sum() / count)
    truth = paper_dece(logits[targets != -100], targets[targets != -100], alpha=ALPHA, smoothing=SMOOTHING)
    assert_losses_close(rows[targets != -100], truth)


@pytest.mark.parametrize("backend", BACKENDS)
def test_reduction_none_takes_a_gradient_for_every_row(backend: str) -> None:
    logits, targets = random_rows(2, count=20)
    targets[5] = -100
    weights = torch.linspace(-1, 2, 20)
    leaf = logits.clone().requires_grad_(True)
    (over_logits(leaf, targets, row_of(backend), reduction="none") * weights).sum().backward()
    _, each = losses_and_gradient(
        lambda z: over_logits(z, targets, row_of(backend), reduction="none"), logits
    )
    assert leaf.grad is not None
    assert_gradients_close(leaf.grad, each * weights[:, None])
    assert (leaf.grad[5] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_parts_of_a_batch_add_up_to_its_mean(backend: str) -> None:
    logits, targets = random_rows(3, count=30)
    targets[4:9] = -100
    whole = logits.clone().requires_grad_(True)
    mean = over_logits(whole, targets, row_of(backend))
    mean.backward()
    parts = logits.clone().requires_grad_(True)
    total = 0.0
    for part in (slice(0, 7), slice(7, 9), slice(9, 30)):  # the second has no supervised row
        value = over_logits(parts[part], targets[part], row_of(backend), num_items_in_batch=25)
        value.backward()
        total += value.item()
    assert total == pytest.approx(mean.item(), rel=1e-6)
    torch.testing.assert_close(parts.grad, whole.grad)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("rows_at_a_time", [1, 3, 64])
def test_chunks_change_nothing(
    backend: str,
    dtype: torch.dtype,
    ignored: bool,
    rows_at_a_time: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits, targets = random_rows(4, count=20)
    logits = logits.to(dtype)
    if ignored:
        targets[[0, 9, 10]] = -100

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        leaf = logits.clone().requires_grad_(True)
        value = over_logits(leaf, targets, row_of(backend))
        value.backward()
        assert leaf.grad is not None
        return value.detach(), leaf.grad

    at_once = run()
    monkeypatch.setattr(
        sys.modules["training.losses.over_logits"], "rows_per_chunk", lambda *_, **__: rows_at_a_time
    )
    chunked = run()
    torch.testing.assert_close(chunked, at_once, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("alpha", [0.985, 0.8, 1.0])
def test_half_logits_are_computed_in_fp32_and_rounded_once(backend: str, ignored: bool, alpha: float) -> None:
    logits, targets = random_rows(5, count=100, classes=2000, scale=3.0)
    logits = logits.bfloat16()
    truth, true_gradient = losses_and_gradient(
        lambda z: paper_dece(z, targets, alpha=alpha, smoothing=SMOOTHING), logits.double()
    )
    if ignored:
        targets[::4] = -100
    leaf = logits.clone().requires_grad_(True)
    rows = over_logits(leaf, targets, row_of(backend, alpha=alpha), reduction="none")
    rows.sum().backward()
    assert leaf.grad is not None
    assert rows.dtype == torch.float32
    assert leaf.grad.dtype == torch.bfloat16
    keep = targets != -100
    assert_losses_close(rows[keep], truth[keep])
    assert_gradients_close(leaf.grad[keep], true_gradient[keep], relative=2e-3)
    # Nothing nearer can be written in bf16: all but a few entries are the true gradient, rounded.
    assert (leaf.grad == true_gradient.bfloat16())[keep].double().mean() > 0.999
    assert (leaf.grad[~keep] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_of_any_layout_are_taken_and_left_alone(backend: str, dtype: torch.dtype) -> None:
    logits, targets = random_rows(6, count=9, classes=10)
    logits = logits.to(dtype)
    truth = over_logits(logits, targets, row_of(backend))
    layouts = {
        "transposed": logits.t().contiguous().t(),
        "every other column": torch.stack([logits, logits], dim=2).flatten(1)[:, ::2],
        "shifted rows": torch.cat([logits[:1], logits])[1:],
    }
    for laid_out in layouts.values():
        before = laid_out.clone()
        leaf = laid_out.detach().requires_grad_(True)
        value = over_logits(leaf, targets, row_of(backend))
        value.backward()
        torch.testing.assert_close(value.detach(), truth)
        torch.testing.assert_close(laid_out, before, rtol=0.0, atol=0.0)
    one = logits[:1].expand(9, 10)
    assert torch.isfinite(over_logits(one, targets, row_of(backend)))


def test_softcapped_logits_equal_capping_before() -> None:
    logits, targets = random_rows(7, count=12, scale=20.0)
    for backend in BACKENDS:
        capped = logits.clone().requires_grad_(True)
        fused = logits.clone().requires_grad_(True)
        outside = over_logits(torch.tanh(capped / 30.0) * 30.0, targets, row_of(backend))
        inside = over_logits(fused, targets, row_of(backend), softcap=30.0)
        outside.backward()
        inside.backward()
        assert inside.item() == pytest.approx(outside.item(), rel=1e-6)
        assert fused.grad is not None
        assert capped.grad is not None
        assert_gradients_close(fused.grad, capped.grad)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("count", [0, 4])
def test_no_supervised_row_is_a_zero_loss_with_a_zero_gradient(
    backend: str, reduction: str, count: int
) -> None:
    leaf = torch.randn(count, 9).requires_grad_(True)
    targets = torch.full((count,), -100)
    value = over_logits(leaf, targets, row_of(backend), reduction=reduction)  # type: ignore[arg-type]
    assert value.shape == ((count,) if reduction == "none" else ())
    assert (value == 0).all()
    value.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.shape == (count, 9)
    assert (leaf.grad == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_that_is_not_a_number_is_known_by_its_loss(backend: str) -> None:
    logits, targets = random_rows(8, count=5)
    logits[2, 3] = math.nan
    leaf = logits.requires_grad_(True)
    rows = over_logits(leaf, targets, row_of(backend), reduction="none")
    rows.sum().backward()
    assert rows.isnan().tolist() == [False, False, True, False, False]
    assert leaf.grad is not None
    assert leaf.grad.isnan().any(dim=1).tolist() == [False, False, True, False, False]
    assert over_logits(leaf, targets, row_of(backend)).isnan()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_ignored_row_may_hold_anything(backend: str) -> None:
    logits, targets = random_rows(8, count=5)
    targets[2] = -100
    clean = over_logits(logits, targets, row_of(backend))
    logits[2] = math.nan
    leaf = logits.requires_grad_(True)
    value = over_logits(leaf, targets, row_of(backend))
    value.backward()
    assert value.item() == clean.item()
    assert leaf.grad is not None
    assert (leaf.grad[2] == 0).all()


def test_the_graph_may_be_walked_again() -> None:
    logits, targets = random_rows(9)
    leaf = logits.requires_grad_(True)
    value = over_logits(leaf, targets, row_of())
    value.backward(retain_graph=True)
    assert leaf.grad is not None
    once = leaf.grad.clone()
    value.backward(retain_graph=True)
    value.backward()
    torch.testing.assert_close(leaf.grad, 3 * once)


def test_a_second_derivative_is_refused() -> None:
    leaf = wide_logits()
    value = over_logits(leaf, TARGETS, row_of()).square()
    (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_no_gradient_is_kept_where_none_is_asked_for() -> None:
    logits, targets = random_rows(9)
    with torch.no_grad():
        assert not over_logits(logits.requires_grad_(True), targets, row_of()).requires_grad
    assert not over_logits(logits.detach(), targets, row_of()).requires_grad


@pytest.mark.parametrize(
    ("logits", "targets", "options", "named"),
    [
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.long), {}, "do not fit 3 rows"),
        (torch.zeros(3, 4, 5), torch.zeros(3, dtype=torch.long), {}, r"must be floating point \[R, V\]"),
        (torch.zeros(3, 4, dtype=torch.long), torch.zeros(3, dtype=torch.long), {}, "torch.int64"),
        (torch.zeros(3, 4, dtype=torch.complex64), torch.zeros(3, dtype=torch.long), {}, "floating point"),
        (torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), {}, "1 classes: at least 2"),
        (torch.zeros(3, 4), torch.zeros(3), {}, "class numbers must be integers"),
        (torch.zeros(3, 4), torch.tensor([0, 4, 0]), {}, "target 4 in row 1"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.long, device="meta"), {}, "logits are on cpu, targets on meta"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.long), {"softcap": 0.0}, "softcap=0.0"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.long), {"softcap": -30.0}, "softcap=-30.0"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.long), {"softcap": math.inf}, "softcap=inf"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.long), {"softcap": math.nan}, "softcap=nan"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.long), {"reduction": "avg"}, "reduction='avg'"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.long), {"num_items_in_batch": 0}, "num_items_in_batch=0"),
    ],
)  # fmt: skip
def test_input_that_does_not_fit_is_named(
    logits: torch.Tensor, targets: torch.Tensor, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        over_logits(logits, targets, row_of(), **options)
