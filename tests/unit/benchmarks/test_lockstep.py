"""Both loops on a real tiny model: the same losses at every step, or the benchmark says so."""

from pathlib import Path

import pytest
import torch

from benchmarks import lockstep
from benchmarks.lockstep import Pair
from benchmarks.lockstep import run_lockstep
from benchmarks.measure_step import loss_failures
from deploy.contract.dataset import Row
from deploy.contract.method import DeceLoss
from deploy.contract.spec import TrainingPlan
from training.data.example import Example
from training.data.example import encode_rows
from training.model import LoadedModel
from training.model import load_model

LOSS = DeceLoss(alpha_base=0.9, label_smoothing=0.05, mode="parity")
PLAN = TrainingPlan(n_epochs=1, batch_size=4, learning_rate=1e-3, max_tokens=64, max_grad_norm=1e9, seed=3)


@pytest.fixture
def model(tiny_decoder_dir: Path) -> LoadedModel:
    torch.set_num_threads(1)
    return load_model(tiny_decoder_dir)


@pytest.fixture
def examples(model: LoadedModel, tiny_rows: list[Row]) -> tuple[Example, ...]:
    return encode_rows(model.tokenizer, tiny_rows[:12], max_tokens=64).examples


def test_both_loops_see_the_same_losses(model: LoadedModel, examples: tuple[Example, ...]) -> None:
    ticked: list[str] = []
    pairs = run_lockstep(model, examples, PLAN, LOSS, tick=ticked.append)
    assert ticked == ["step 1", "step 2", "step 3"]
    assert loss_failures(pairs) == []
    for pair in pairs:
        assert pair.ours_loss == pytest.approx(pair.theirs_loss, rel=1e-5)
        assert min(pair.ours_s, pair.theirs_s) > 0.0
    # They learn: equal losses of weights that never move would prove nothing.
    assert pairs[-1].theirs_loss < pairs[0].theirs_loss - 1e-4
    assert sum(pair.tokens for pair in pairs) == sum(example.tokens for example in examples)


def test_another_loss_in_one_loop_is_found(
    model: LoadedModel, examples: tuple[Example, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockstep, "blending_weight", lambda base, epoch: 0.8)
    pairs = run_lockstep(model, examples, PLAN, LOSS, tick=lambda doing: None)
    assert loss_failures(pairs)[0].startswith("step 1: our loss is ")


def test_more_than_an_epoch_is_refused(model: LoadedModel, examples: tuple[Example, ...]) -> None:
    plan = PLAN.model_copy(update={"n_epochs": 2})
    with pytest.raises(ValueError, match="2 epochs"):
        run_lockstep(model, examples, plan, LOSS, tick=lambda doing: None)


def pair(ours: float, theirs: float) -> Pair:
    return Pair(tokens=10, ours_s=1.0, theirs_s=5.0, elapsed_s=6.0, ours_loss=ours, theirs_loss=theirs)


@pytest.mark.parametrize("ours", [2.01, float("nan")])
def test_curves_that_part_are_named_by_the_step(ours: float) -> None:
    assert loss_failures([pair(2.0, 2.0), pair(2.0001, 2.0)]) == []
    assert loss_failures([pair(2.0, 2.0), pair(ours, 2.0)])[0].startswith("step 2:")
