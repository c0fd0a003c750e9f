"""The losses as functions: equal to torch's own where torch has them, one call for logits and for hidden states."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from loss_formulas import assert_gradients_close
from loss_formulas import assert_losses_close
from loss_formulas import dece as transcription
from loss_formulas import losses_and_gradient
from loss_formulas import random_rows
from torch._dynamo.testing import CompileCounter
from torch.nn import functional

from training import losses
from training.losses import cross_entropy
from training.losses import dece
from training.losses import generalised_cross_entropy
from training.losses import in_trust
from training.losses import label_smoothed_cross_entropy
from training.losses import linear_dece

BACKENDS: list[Any] = ["torch", "native"]
Loss = Callable[..., torch.Tensor]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["exact", "parity"])
@pytest.mark.parametrize("spread", ["others", "all"])
@pytest.mark.parametrize("fused", [False, True])
def test_dece_equals_the_formula(backend: Any, mode: Any, spread: Any, fused: bool) -> None:
    logits, targets = random_rows(1, count=30, classes=200)
    options = {"label_smoothing": 0.1, "mode": mode, "spread": spread, "backend": backend}

    def ours(z: torch.Tensor) -> torch.Tensor:
        if fused:  # the head is the unit matrix: its logits are its hidden states
            return linear_dece(z, torch.eye(200), targets, alpha=0.97, reduction="none", **options)  # type: ignore[arg-type]
        return dece(z, targets, alpha=0.97, reduction="none", **options)  # type: ignore[arg-type]

    rows, gradient = losses_and_gradient(ours, logits)
    truth, true_gradient = losses_and_gradient(
        lambda z: transcription(mode)(z, targets, alpha=0.97, smoothing=0.1, spread=spread), logits
    )
    assert_losses_close(rows, truth)
    assert_gradients_close(gradient, true_gradient)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("classes", [2, 33, 5000])
def test_without_blending_it_is_torchs_own_cross_entropy(
    backend: Any, smoothing: float, reduction: Any, classes: int
) -> None:
    logits, targets = random_rows(2, count=20, classes=classes)
    targets[::6] = -100
    ours, theirs = (logits.clone().requires_grad_(True) for _ in range(2))
    loss = label_smoothed_cross_entropy(
        ours, targets, label_smoothing=smoothing, reduction=reduction, backend=backend
    )
    truth = functional.cross_entropy(theirs, targets, label_smoothing=smoothing, reduction=reduction)
    loss.sum().backward()
    truth.sum().backward()
    assert_losses_close(loss, truth)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert_gradients_close(ours.grad, theirs.grad)
    if smoothing == 0.0:
        plain = cross_entropy(logits, targets, reduction=reduction, backend=backend)
        assert_losses_close(plain, truth)


@pytest.mark.parametrize("backend", BACKENDS)
def test_fast_paths_are_the_limits_of_the_general_formula(backend: Any) -> None:
    logits, targets = random_rows(3, count=20, scale=2.0)
    near = {"label_smoothing": 1e-9, "backend": backend}
    pairs = [
        ({"alpha": 0.9, "label_smoothing": 0.0}, {"alpha": 0.9, **near}),
        ({"alpha": 1.0, "label_smoothing": 0.05}, {"alpha": 1 - 1e-12, "label_smoothing": 0.05}),
        ({"alpha": 1.0, "label_smoothing": 0.0}, {"alpha": 1 - 1e-12, **near}),
    ]
    for fast, general in pairs:
        rows, gradient = losses_and_gradient(
            lambda z, options=fast: dece(z, targets, reduction="none", **{"backend": backend, **options}), logits
        )  # fmt: skip
        limit, limit_gradient = losses_and_gradient(
            lambda z, options=general: dece(z, targets, reduction="none", **{"backend": backend, **options}), logits
        )  # fmt: skip
        assert_losses_close(rows, limit)
        assert_gradients_close(gradient, limit_gradient)


LOSSES: dict[str, Loss] = {
    "dece": lambda z, t, **o: dece(z, t, alpha=0.9, **o),
    "linear dece": lambda z, t, **o: linear_dece(z, torch.eye(33, dtype=z.dtype), t, alpha=0.9, **o),
    "cross-entropy": cross_entropy,
    "label smoothing": lambda z, t, **o: label_smoothed_cross_entropy(z, t, label_smoothing=0.1, **o),
    "gce": generalised_cross_entropy,
    "in-trust": in_trust,
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_ignores_and_reduces_alike(name: str) -> None:
    loss = LOSSES[name]
    logits, targets = random_rows(4, count=20)
    rows = loss(logits, targets, reduction="none")
    marked = targets.clone()
    marked[5:9] = 7
    other = loss(logits, marked, ignore_index=7, reduction="none")
    kept = marked != 7
    assert_losses_close(other[kept], rows[kept])
    assert (other[~kept] == 0).all()
    mean = loss(logits, marked, ignore_index=7)
    assert mean.item() == pytest.approx(rows[kept].mean().item(), rel=1e-5)
    total = loss(logits, marked, ignore_index=7, reduction="sum")
    assert total.item() == pytest.approx(rows[kept].sum().item(), rel=1e-5)
    part = loss(logits, marked, ignore_index=7, num_items_in_batch=100)
    assert part.item() == pytest.approx(rows[kept].sum().item() / 100, rel=1e-5)
    known = loss(logits, marked, ignore_index=7, positions=kept.nonzero().squeeze(1))
    assert known.item() == mean.item()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_nothing_is_zero(name: str) -> None:
    for rows in (0, 3):
        leaf = torch.randn(rows, 33).requires_grad_(True)
        value = LOSSES[name](leaf, torch.full((rows,), -100))
        value.backward()
        assert value.item() == 0.0
        assert leaf.grad is not None
        assert (leaf.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_names_a_target_out_of_range(name: str) -> None:
    with pytest.raises(ValueError, match=r"target 33 in row 1 lies outside 0\.\.32"):
        LOSSES[name](torch.zeros(2, 33), torch.tensor([0, 33]))


@pytest.mark.parametrize("loss", [dece, linear_dece])
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"alpha": -0.5}, "alpha=-0.5"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"alpha": torch.tensor(2.0)}, "alpha=2.0"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"mode": "fast"}, "mode='fast'"),
        ({"spread": "some"}, "spread='some'"),
        ({"backend": "fast"}, "backend='fast'"),
        ({"reduction": "avg"}, "reduction='avg'"),
        ({"softcap": 0.0}, "softcap=0.0"),
    ],
)
def test_an_option_out_of_range_is_named(loss: Loss, changed: dict[str, Any], named: str) -> None:
    head = () if loss is dece else (torch.zeros(3, 3),)
    with pytest.raises(ValueError, match=named):
        loss(torch.zeros(2, 3), *head, torch.tensor([0, 1]), **{"alpha": 0.9, **changed})


@pytest.mark.parametrize("loss", [dece, linear_dece])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_weight_may_be_a_number_or_a_tensor(loss: Loss, backend: Any) -> None:
    logits, targets = random_rows(5)
    head = () if loss is dece else (torch.eye(33),)
    number = loss(logits, *head, targets, alpha=0.7, backend=backend)
    tensor = loss(logits, *head, targets, alpha=torch.tensor(0.7, dtype=torch.float64), backend=backend)
    assert number.item() == tensor.item()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_compiled_caller_is_not_compiled_again_for_a_new_weight(as_tensor: bool) -> None:
    torch._dynamo.reset()
    counter = CompileCounter()

    def step(hidden: torch.Tensor, targets: torch.Tensor, alpha: Any) -> torch.Tensor:
        return dece(torch.tanh(hidden) * 3.0, targets, alpha=alpha) * 2.0

    compiled = torch.compile(step, backend=counter)
    hidden, targets = random_rows(6)
    frames = []
    for epoch in range(1, 21):
        alpha = 0.9**epoch
        given = torch.tensor(alpha, dtype=torch.float64) if as_tensor else alpha
        leaf = hidden.clone().requires_grad_(True)
        loss = compiled(leaf, targets, given)
        loss.backward()
        expected = step(hidden, targets, alpha)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        assert leaf.grad is not None
        frames.append(counter.frame_count)
    # The first number is a constant until a second is seen; a tensor never is.
    assert frames[-1] == frames[0] if as_tensor else frames[-1] == frames[2]


def test_everything_promised_is_there() -> None:
    for name in losses.__all__:
        assert getattr(losses, name) is not None
