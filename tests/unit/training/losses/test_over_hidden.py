"""A row loss fused with the head: gradients by autograd's own check, equality with the unfused loss, memory."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from loss_formulas import assert_gradients_close
from loss_formulas import assert_losses_close
from loss_formulas import paper_dece
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from training.losses.backend import dece_rows
from training.losses.generalised_cross_entropy import GeneralisedCrossEntropyRows
from training.losses.over_hidden import over_hidden
from training.losses.over_logits import over_logits
from training.losses.row import RowLoss
from training.losses.supervised import GradientMeter

BACKENDS = ["torch", "native"]
CPU = torch.device("cpu")
ALPHA, SMOOTHING = 0.985, 0.05


def row_of(backend: str = "torch", **options: Any) -> RowLoss:
    return dece_rows(
        **{"alpha": ALPHA, "label_smoothing": SMOOTHING, "backend": backend, "device": CPU, **options}
    )


ROWS: dict[str, RowLoss] = {
    "dece": row_of(),
    "parity": row_of(mode="parity"),
    "plain": row_of(alpha=1.0, label_smoothing=0.0),
    "gce": GeneralisedCrossEntropyRows(),
}


def tensors(
    *, rows: int, hidden: int, classes: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, head, bias and targets, a third of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, hidden, generator=generator, dtype=torch.float64)
    head = torch.randn(classes, hidden, generator=generator, dtype=torch.float64) / math.sqrt(hidden) * 3
    bias = torch.randn(classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(classes, (rows,), generator=generator)
    targets[1::3] = -100
    return states.to(dtype), head.to(dtype), bias.to(dtype), targets


def gradients(
    loss: torch.Tensor, leaves: Sequence[torch.Tensor], weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss if weights is None else (loss * weights).sum(), leaves)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"num_items_in_batch": 9},
        {"softcap": 3.0},
        {"softcap": 3.0, "reduction": "none"},
    ],
    ids=str,
)
@pytest.mark.parametrize("chunk_rows", [2, None])
def test_i3_gradient_is_the_numerical_one(
    name: str, biased: bool, options: dict[str, Any], chunk_rows: int | None
) -> None:
    states, head, bias, targets = tensors(rows=5, hidden=3, classes=4, dtype=torch.float64)
    leaves = [one.requires_grad_(True) for one in ((states, head, bias) if biased else (states, head))]

    def loss(*given: torch.Tensor) -> torch.Tensor:
        return over_hidden(
            given[0],
            given[1],
            targets,
            ROWS[name],
            bias_V=given[2] if biased else None,
            chunk_rows=chunk_rows,
            **options,
        )

    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("frozen", [{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 2}])
def test_gradient_is_the_numerical_one_with_a_part_frozen(frozen: set[int], reduction: str) -> None:
    given = tensors(rows=5, hidden=3, classes=4, dtype=torch.float64)
    leaves = [one.requires_grad_(index not in frozen) for index, one in enumerate(given[:3])]
    wanted = [one for index, one in enumerate(leaves) if index not in frozen]

    def loss(*moved: torch.Tensor) -> torch.Tensor:
        left = iter(moved)
        states, head, bias = (one if i in frozen else next(left) for i, one in enumerate(leaves))
        return over_hidden(
            states,
            head,
            given[3],
            row_of(),
            bias_V=bias,
            chunk_rows=2,
            reduction=reduction,  # type: ignore[arg-type]
        )

    assert torch.autograd.gradcheck(loss, wanted)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradient_is_the_numerical_one_with_tied_embeddings(reduction: str) -> None:
    _, table, _, targets = tensors(rows=5, hidden=3, classes=4, dtype=torch.float64)
    tokens = torch.tensor([0, 3, 3, 1, 2])

    def loss(embedding: torch.Tensor) -> torch.Tensor:
        states = torch.tanh(functional.embedding(tokens, embedding))
        return over_hidden(states, embedding, targets, row_of(), chunk_rows=2, reduction=reduction)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(loss, (table.requires_grad_(True),))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["exact", "parity"])
@pytest.mark.parametrize("alpha", [0.985, 1.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_i3_fused_equals_unfused(
    backend: str, mode: str, alpha: float, reduction: str, biased: bool, softcap: float | None
) -> None:
    states, head, bias, targets = tensors(rows=50, hidden=16, classes=300)
    leaves = [one.requires_grad_(True) for one in ((states, head, bias) if biased else (states, head))]
    row = row_of(backend, mode=mode, alpha=alpha)
    options: dict[str, Any] = {"reduction": reduction, "softcap": softcap}
    weights = torch.linspace(-1.0, 2.0, 50) if reduction == "none" else torch.tensor(1.7)
    fused = over_hidden(states, head, targets, row, bias_V=bias if biased else None, chunk_rows=7, **options)
    plain = over_logits(functional.linear(states, head, bias if biased else None), targets, row, **options)
    assert_losses_close(fused, plain)
    for ours, theirs in zip(
        gradients(fused, leaves, weights), gradients(plain, leaves, weights), strict=True
    ):
        assert_gradients_close(ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("chunk_rows", [1, 3, 33, 34, 35, 1000])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_chunks_that_do_not_divide_change_nothing(backend: str, chunk_rows: int, reduction: str) -> None:
    states, head, bias, targets = tensors(rows=51, hidden=16, classes=100)  # 34 supervised
    leaves = [one.requires_grad_(True) for one in (states, head, bias)]

    def run(rows_at_a_time: int | None) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        loss = over_hidden(
            states,
            head,
            targets,
            row_of(backend),
            bias_V=bias,
            reduction=reduction,  # type: ignore[arg-type]
            chunk_rows=rows_at_a_time,
        )
        return loss, gradients(loss, leaves, torch.ones(51) if reduction == "none" else None)

    loss, grads = run(chunk_rows)
    whole, whole_grads = run(None)
    assert_losses_close(loss, whole, relative=1e-6)
    for ours, theirs in zip(grads, whole_grads, strict=True):
        assert_gradients_close(ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("biased", [False, True])
def test_bf16_states_are_as_exact_as_bf16_logits_allow(backend: str, biased: bool) -> None:
    """The logits are what a bf16 head makes of them; after that the only errors are roundings to bf16."""
    states, head, bias, targets = tensors(rows=300, hidden=64, classes=2000, dtype=torch.bfloat16)
    leaves = [one.requires_grad_(True) for one in ((states, head, bias) if biased else (states, head))]
    loss = over_hidden(
        states, head, targets, row_of(backend), bias_V=bias if biased else None, reduction="sum"
    )
    ours = gradients(loss, leaves)
    keep = targets != -100
    logits = torch.mm(states.detach()[keep], head.detach().t())
    if biased:
        logits = logits + bias.detach()
    wide = logits.double().requires_grad_(True)
    truth = paper_dece(wide, targets[keep], alpha=ALPHA, smoothing=SMOOTHING).sum()
    (slope,) = torch.autograd.grad(truth, wide)
    assert_losses_close(loss, truth)
    true_states = torch.zeros_like(states, dtype=torch.float64)
    true_states[keep] = slope @ head.double()
    expected = [true_states, slope.t() @ states.detach()[keep].double(), slope.sum(dim=0)]
    for one, true in zip(ours, expected, strict=False):
        assert one.dtype == torch.bfloat16
        off = (one.double() - true).norm() / true.norm()
        # One rounding for the logits' gradient, one for the product: sqrt(2) times the 2e-3 of one.
        assert off <= math.sqrt(2) * 2e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_parts_of_a_batch_add_up_to_its_mean(backend: str) -> None:
    states, head, _, targets = tensors(rows=31, hidden=8, classes=40)
    leaves = [states.requires_grad_(True), head.requires_grad_(True)]
    count = int((targets != -100).sum())
    mean = over_hidden(states, head, targets, row_of(backend))
    whole = gradients(mean, leaves)
    parts = [
        over_hidden(
            states[part], head, targets[part], row_of(backend), num_items_in_batch=torch.tensor(count)
        )
        for part in (
            slice(0, 1),
            slice(1, 2),
            slice(2, 20),
            slice(20, 31),
        )  # the second has no supervised row
    ]
    total = torch.stack(parts).sum()
    assert total.item() == pytest.approx(mean.item(), rel=1e-6)
    for ours, theirs in zip(gradients(total, leaves), whole, strict=True):
        assert_gradients_close(ours, theirs)


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements of a new tensor, and of all matrix products their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.products: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else [out]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
                if "mm" in str(func):
                    self.products.append(tuple(one.shape))
        return out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_logits_of_more_than_a_chunk_are_never_held(
    backend: str, dtype: torch.dtype, reduction: str
) -> None:
    states, head, _, targets = tensors(rows=96, hidden=4, classes=200, dtype=dtype)  # 64 supervised
    with LargestTensor() as seen:
        loss = over_hidden(
            states.requires_grad_(True),
            head.requires_grad_(True),
            targets,
            row_of(backend),
            chunk_rows=8,
            reduction=reduction,  # type: ignore[arg-type]
        )
        loss.sum().backward()
    assert seen.elements == 8 * 200
    assert 200 * 4 < seen.elements < 64 * 200
    with LargestTensor() as unfused:
        over_logits(functional.linear(states, head), targets, row_of(backend)).backward()
    assert unfused.elements >= 96 * 200


@pytest.mark.parametrize("frozen", [False, True])
def test_only_supervised_rows_are_multiplied_and_a_frozen_head_saves_a_product(frozen: bool) -> None:
    states, head, _, targets = tensors(rows=96, hidden=4, classes=200)
    with LargestTensor() as seen:
        over_hidden(
            states.requires_grad_(True), head.requires_grad_(not frozen), targets, row_of()
        ).backward()
    expected = [(64, 200), (64, 4)] if frozen else [(64, 200), (64, 4), (200, 4)]
    assert seen.products == expected


def test_an_evaluation_multiplies_once_and_keeps_nothing() -> None:
    states, head, _, targets = tensors(rows=96, hidden=4, classes=200)
    with torch.no_grad(), LargestTensor() as seen:
        loss = over_hidden(states.requires_grad_(True), head.requires_grad_(True), targets, row_of())
    assert not loss.requires_grad
    assert seen.products == [(64, 200)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_the_products_are_in_its_precision(dtype: torch.dtype) -> None:
    states, head, bias, targets = tensors(rows=30, hidden=16, classes=100)
    if dtype == torch.bfloat16:
        states = states.bfloat16()  # what a layer before hands over
    leaves = [one.requires_grad_(True) for one in (states, head, bias)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = over_hidden(states, head, targets, row_of(), bias_V=bias, chunk_rows=7)
        plain = over_logits(functional.linear(states, head, bias), targets, row_of())
    assert fused.dtype == torch.float32
    assert fused.item() == pytest.approx(plain.item(), rel=2e-3)
    for leaf, ours, theirs in zip(leaves, gradients(fused, leaves), gradients(plain, leaves), strict=True):
        assert ours.dtype == leaf.dtype
        assert_gradients_close(ours, theirs, relative=1e-2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("rows", [0, 4])
def test_i3_no_supervised_row_is_a_zero_loss_with_a_zero_gradient(
    backend: str, reduction: str, rows: int
) -> None:
    leaves = [torch.randn(rows, 3), torch.randn(9, 3), torch.randn(9)]
    for one in leaves:
        one.requires_grad_(True)
    value = over_hidden(
        leaves[0],
        leaves[1],
        torch.full((rows,), -100),
        row_of(backend),
        bias_V=leaves[2],
        reduction=reduction,  # type: ignore[arg-type]
    )
    assert value.shape == ((rows,) if reduction == "none" else ())
    assert (value == 0).all()
    for leaf, gradient in zip(leaves, gradients(value.sum(), leaves), strict=True):
        assert gradient.shape == leaf.shape
        assert (gradient == 0).all()


def test_a_state_that_is_not_a_number_spoils_its_own_row_and_the_head() -> None:
    states, head, _, targets = tensors(rows=6, hidden=3, classes=9)
    states[2, 1] = math.nan
    leaves = [states.requires_grad_(True), head.requires_grad_(True)]
    rows = over_hidden(states, head, targets, row_of("native"), reduction="none")
    assert rows.isnan().tolist() == [False, False, True, False, False, False]
    of_states, of_head = gradients(rows.sum(), leaves)
    assert of_states.isnan().any(dim=1).tolist() == [False, False, True, False, False, False]
    assert of_head.isnan().all()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_graph_may_be_walked_again(reduction: str) -> None:
    states, head, _, targets = tensors(rows=6, hidden=3, classes=9)
    leaves = [states.requires_grad_(True), head.requires_grad_(True)]
    value = over_hidden(states, head, targets, row_of(), reduction=reduction).sum()  # type: ignore[arg-type]
    value.backward(retain_graph=True)
    once = [one.grad.clone() for one in leaves if one.grad is not None]
    value.backward(retain_graph=True)
    value.backward()
    for leaf, first in zip(leaves, once, strict=True):
        torch.testing.assert_close(leaf.grad, 3 * first)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_second_derivative_is_refused(reduction: str) -> None:
    states, head, _, targets = tensors(rows=6, hidden=3, classes=9)
    value = over_hidden(states.requires_grad_(True), head, targets, row_of(), reduction=reduction)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(value.square().sum(), states, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_rows_are_metered_once(reduction: str) -> None:
    states, head, _, targets = tensors(rows=20, hidden=3, classes=9)
    fused, unfused = GradientMeter(), GradientMeter()
    loss = over_hidden(
        states.requires_grad_(True),
        head,
        targets,
        row_of(),
        chunk_rows=3,
        reduction=reduction,  # type: ignore[arg-type]
        meter=fused,
    )
    loss.sum().backward()
    over_logits(states @ head.t(), targets, row_of(), meter=unfused)
    assert fused.sums() == pytest.approx(unfused.sums(), rel=1e-5)


STATES, HEAD = torch.zeros(3, 4), torch.zeros(5, 4)
TARGETS = torch.zeros(3, dtype=torch.long)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"hidden_RH": torch.zeros(3, 6)}, r"hidden states \(3, 6\) and head \(5, 4\)"),
        ({"hidden_RH": torch.zeros(1, 3, 4)}, r"do not fit \[R, H\] and \[V, H\]"),
        ({"hidden_RH": STATES.long(), "weight_VH": HEAD.long()}, "hidden states are torch.int64"),
        ({"hidden_RH": STATES.bfloat16()}, "hidden states are torch.bfloat16, the head is torch.float32"),
        ({"weight_VH": HEAD.double()}, "the head is torch.float64"),
        ({"bias_V": torch.zeros(5, dtype=torch.bfloat16)}, "its bias torch.bfloat16"),
        ({"bias_V": torch.zeros(4)}, r"bias \(4,\) does not fit 5 classes"),
        ({"weight_VH": HEAD[:1]}, "1 classes: at least 2"),
        ({"targets_R": TARGETS[:2]}, "do not fit 3 rows"),
        ({"targets_R": TARGETS + 5}, "target 5 in row 0"),
        ({"targets_R": TARGETS.float()}, "class numbers must be integers"),
        ({"targets_R": TARGETS.to("meta")}, "different devices"),
        ({"hidden_RH": STATES.to("meta")}, "different devices"),
        ({"weight_VH": HEAD.to("meta")}, "different devices"),
        ({"bias_V": torch.zeros(5, device="meta")}, "different devices"),
        ({"chunk_rows": 0}, "chunk_rows=0 must be at least 1"),
        ({"softcap": -1.0}, "softcap=-1.0"),
        ({"reduction": "avg"}, "reduction='avg'"),
        ({"num_items_in_batch": 0}, "num_items_in_batch=0"),
    ],
)  # fmt: skip
def test_input_that_does_not_fit_is_named(changed: dict[str, Any], named: str) -> None:
    given = {"hidden_RH": STATES, "weight_VH": HEAD, "targets_R": TARGETS, "row": row_of(), **changed}
    with pytest.raises(ValueError, match=named):
        over_hidden(**given)
