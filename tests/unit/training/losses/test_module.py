"""DeCE as modules: where they are in a run, and that moving on compiles nothing again."""

import copy
import pickle
from typing import Any

import pytest
import torch
from loss_formulas import random_rows
from torch import nn
from torch._dynamo.testing import CompileCounter

from training.losses import AlphaSchedule
from training.losses import DeceLoss
from training.losses import LinearDeceLoss
from training.losses import dece
from training.losses import linear_dece

MODULES = [DeceLoss, LinearDeceLoss]


def value(loss: nn.Module, **options: Any) -> float:
    logits, targets = random_rows(1)
    head = () if isinstance(loss, DeceLoss) else (torch.eye(33),)
    out: torch.Tensor = loss(logits, *head, targets, **options)
    return out.item()


def direct(alpha: float, **options: Any) -> float:
    logits, targets = random_rows(1)
    return dece(logits, targets, alpha=alpha, **options).item()


@pytest.mark.parametrize("kind", MODULES)
def test_the_loss_follows_the_epoch(kind: Any) -> None:
    loss = kind(alpha_base=0.8)
    assert value(loss) == pytest.approx(direct(0.8), rel=1e-6)  # the first epoch, without a word
    seen = []
    for epoch in range(1, 21):
        loss.at(epoch=epoch)
        assert loss.alpha == 0.8**epoch
        seen.append(value(loss))
        assert seen[-1] == pytest.approx(direct(0.8**epoch), rel=1e-6)
    assert len(set(seen)) == 20


@pytest.mark.parametrize("kind", MODULES)
def test_the_loss_follows_the_step(kind: Any) -> None:
    loss = kind(alpha_base=0.8, schedule="step", span=10.0)
    schedule = AlphaSchedule(alpha_base=0.8, kind="step", span=10.0)
    assert loss.alpha == 1.0
    for step in (1, 7, 50):
        loss.at(epoch=1, step=step, total_steps=50)
        assert loss.alpha == schedule.alpha(epoch=1, step=step, total_steps=50)
        assert value(loss) == pytest.approx(direct(loss.alpha), rel=1e-6)
    assert loss.alpha == pytest.approx(0.8**10)


def test_a_schedule_per_step_must_know_the_runs_length() -> None:
    """Without it the weight would stay at 1: no defence, and no word of it."""
    with pytest.raises(ValueError, match="schedule 'step' needs total_steps"):
        DeceLoss(schedule="step").at(epoch=3)


@pytest.mark.parametrize(
    "position", [{"epoch": 0}, {"epoch": 1, "step": 0}, {"epoch": 1, "step": 9, "total_steps": 8}]
)
def test_a_position_outside_the_run_changes_nothing(position: dict[str, int]) -> None:
    loss = DeceLoss(alpha_base=0.9)
    loss.at(epoch=4)
    with pytest.raises(ValueError, match="not a position"):
        loss.at(**position)
    assert loss.alpha == 0.9**4


@pytest.mark.parametrize("kind", MODULES)
def test_a_resumed_module_is_where_the_unbroken_one_is(kind: Any) -> None:
    unbroken, resumed = kind(alpha_base=0.9), kind(alpha_base=0.9)
    for epoch in range(1, 8):
        unbroken.at(epoch=epoch)
    assert unbroken.state_dict() == {}  # a function of the position alone
    resumed.at(epoch=7)
    assert resumed.alpha == unbroken.alpha
    assert value(resumed) == value(unbroken)


@pytest.mark.parametrize("kind", MODULES)
def test_options_are_the_functions_and_a_call_may_change_them(kind: Any) -> None:
    loss = kind(
        alpha_base=0.9, label_smoothing=0.2, mode="parity", spread="all", reduction="sum", backend="torch"
    )
    options = {"label_smoothing": 0.2, "mode": "parity", "spread": "all", "backend": "torch"}
    assert value(loss) == pytest.approx(direct(0.9, reduction="sum", **options), rel=1e-6)
    assert value(loss, reduction="mean") == pytest.approx(direct(0.9, **options), rel=1e-6)
    assert value(loss, num_items_in_batch=70) == pytest.approx(
        direct(0.9, reduction="sum", **options) / 70, rel=1e-6
    )
    assert value(loss, softcap=5.0) != pytest.approx(value(loss), rel=1e-3)


def test_the_fused_module_takes_a_bias() -> None:
    logits, targets = random_rows(2)
    head, bias = torch.randn(12, 33), torch.randn(12)
    loss = LinearDeceLoss(alpha_base=0.9)(logits, head, targets % 12, bias)
    expected = linear_dece(logits, head, targets % 12, alpha=0.9, bias_V=bias)
    assert loss.item() == expected.item()


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"alpha_base": 0.0}, "alpha_base=0.0"),
        ({"alpha_base": 1.2}, "alpha_base=1.2"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"mode": "fast"}, "mode='fast'"),
        ({"spread": "some"}, "spread='some'"),
        ({"schedule": "cosine"}, "schedule='cosine'"),
        ({"span": 0.0}, "span=0.0"),
    ],
)
def test_what_cannot_be_is_named_when_the_module_is_made(
    kind: Any, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        kind(**wrong)


@pytest.mark.parametrize("kind", MODULES)
def test_the_weight_stays_on_the_host_whatever_happens_to_the_module(kind: Any) -> None:
    with torch.device("meta"):
        loss = kind(alpha_base=0.8)
    loss.at(epoch=3)
    pickled = pickle.loads(pickle.dumps(loss))  # noqa: S301 - our own
    for moved in (loss.to("meta"), loss.bfloat16(), copy.deepcopy(loss), pickled):
        assert moved.alpha == 0.8**3
        assert value(moved) == pytest.approx(direct(0.8**3), rel=1e-6)
    assert list(loss.parameters()) == []
    assert list(loss.buffers()) == []


class Model(nn.Module):
    """A head, and a loss inside the model."""

    def __init__(self, loss: DeceLoss | LinearDeceLoss) -> None:
        super().__init__()
        self.body = nn.Linear(33, 16)
        self.head = nn.Linear(16, 33, bias=False)
        self.loss = loss

    def forward(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.body(x))
        if isinstance(self.loss, DeceLoss):
            out: torch.Tensor = self.loss(self.head(hidden), targets)
        else:
            out = self.loss(hidden, self.head.weight, targets)
        return out * 1.0


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize("schedule", ["epoch", "step"])
def test_twenty_epochs_compile_once(kind: Any, backend: str, schedule: Any) -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    model = Model(kind(alpha_base=0.8, backend=backend, schedule=schedule))
    compiled = torch.compile(model, backend=counter)
    x, targets = random_rows(3)
    seen, frames = [], []
    for epoch in range(1, 21):
        model.loss.at(epoch=epoch, step=epoch, total_steps=20)
        loss = compiled(x, targets)
        loss.backward()
        assert loss.item() == pytest.approx(model(x, targets).item(), rel=1e-6)
        seen.append(loss.item())
        frames.append(counter.frame_count)
    assert frames == [frames[0]] * 20
    assert frames[0] > 0
    assert len(set(seen)) == 20  # the weight did change


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_module_alone_runs_as_it_stands() -> None:
    torch._dynamo.reset()
    loss = DeceLoss(alpha_base=0.8)
    compiled = torch.compile(loss, backend=CompileCounter())
    for epoch in (1, 2, 3):
        loss.at(epoch=epoch)
        assert value_of(compiled) == pytest.approx(direct(0.8**epoch), rel=1e-6)


def value_of(loss: Any) -> float:
    logits, targets = random_rows(1)
    out: torch.Tensor = loss(logits, targets)
    return out.item()
