"""From the contract's description of a loss to its rows along a run."""

from typing import Any

import pytest
import torch

from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceHyperparameters
from deploy.contract.method import DeceLoss
from deploy.contract.method import DeceMethod
from deploy.contract.method import DeceOptions
from deploy.contract.method import SupervisedMethod
from deploy.contract.method import loss_of
from training.losses import build_loss
from training.losses.dece import DeceRows

CPU = torch.device("cpu")


def rows_at(described: DeceLoss | CrossEntropyLoss, *, epoch: int, step: int) -> DeceRows:
    row = build_loss(described, device=CPU).at(epoch=epoch, step=step, total_steps=40)
    assert isinstance(row, DeceRows)
    return row


def test_the_control_is_plain_cross_entropy_all_along() -> None:
    for epoch in (1, 20):
        row = rows_at(CrossEntropyLoss(), epoch=epoch, step=2 * epoch)
        assert (row.alpha, row.label_smoothing, row.mode) == (1.0, 0.0, "exact")


@pytest.mark.parametrize("mode", ["exact", "parity"])
@pytest.mark.parametrize("spread", ["others", "all"])
def test_what_is_described_is_what_runs(mode: Any, spread: Any) -> None:
    described = DeceLoss(alpha_base=0.8, label_smoothing=0.1, mode=mode, smoothing_spread=spread)
    row = rows_at(described, epoch=3, step=30)
    assert (row.alpha, row.label_smoothing, row.mode, row.spread) == (0.8**3, 0.1, mode, spread)


def test_the_schedule_per_step_spreads_its_span_over_the_run() -> None:
    described = DeceLoss(alpha_base=0.8, label_smoothing=0.1, schedule="step", schedule_span=10.0)
    assert rows_at(described, epoch=1, step=40).alpha == pytest.approx(0.8**10)
    assert rows_at(described, epoch=1, step=20).alpha == pytest.approx(0.8**5)


def test_a_methods_hyperparameters_reach_the_loss() -> None:
    chosen = DeceHyperparameters(
        alpha_base=0.97,
        label_smoothing=0.07,
        mode="parity",
        smoothing_spread="all",
        schedule="step",
        schedule_span=3.0,
    )
    method = DeceMethod(type="dece", dece=DeceOptions(hyperparameters=chosen))
    assert loss_of(method) == DeceLoss(
        alpha_base=0.97,
        label_smoothing=0.07,
        mode="parity",
        smoothing_spread="all",
        schedule="step",
        schedule_span=3.0,
    )
    assert loss_of(SupervisedMethod(type="supervised")) == CrossEntropyLoss()


def test_a_loss_described_before_the_schedules_existed_is_the_published_one() -> None:
    described = DeceLoss.model_validate({"type": "dece", "alpha_base": 0.9, "label_smoothing": 0.05})
    assert rows_at(described, epoch=2, step=9) == rows_at(
        DeceLoss(alpha_base=0.9, label_smoothing=0.05, schedule="epoch", smoothing_spread="others"),
        epoch=2,
        step=9,
    )
    assert rows_at(described, epoch=2, step=9).alpha == 0.9**2


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha_base": 0.0},
        {"alpha_base": 1.1},
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"schedule": "cosine"},
        {"schedule_span": 0.0},
        {"smoothing_spread": "none"},
    ],
)
def test_a_description_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DeceLoss.model_validate({"type": "dece", "alpha_base": 0.9, "label_smoothing": 0.05, **wrong})
