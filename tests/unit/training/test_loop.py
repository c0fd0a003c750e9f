"""The loop: it learns, it repeats itself to the bit, it stops when it diverges."""

from collections.abc import Callable
from collections.abc import Sequence

import pytest
import torch

from deploy.contract.dataset import Row
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import DeceLoss
from deploy.contract.spec import TrainingPlan
from training.data.example import Example
from training.data.example import encode_rows
from training.errors import InvalidInput
from training.loop import Run
from training.loop import StepMetrics
from training.loop import Watchers
from training.loop import learning_rate_at
from training.loop import start_run
from training.loop import train
from training.losses import build_loss
from training.model import LoadedModel

QUIET = Watchers(on_metrics=lambda metrics: None, on_epoch=lambda run, epoch: None)


def encoded(loaded: LoadedModel, rows: Sequence[Row], plan: TrainingPlan) -> tuple[Example, ...]:
    return encode_rows(loaded.tokenizer, rows, max_tokens=plan.max_tokens).examples


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in run.loaded.model.state_dict().items()}


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), DeceLoss(alpha_base=0.99, label_smoothing=0.05)])
def test_training_lowers_the_loss_and_repeats_to_the_bit(
    tiny_model: Callable[[], LoadedModel],
    tiny_rows: list[Row],
    plan: TrainingPlan,
    loss: CrossEntropyLoss | DeceLoss,
) -> None:
    runs = []
    for _ in range(2):
        run = start_run(tiny_model(), plan)
        train(run, encoded(run.loaded, tiny_rows, plan), loss=build_loss(loss), plan=plan, watchers=QUIET)
        runs.append(run)
    first, second = runs
    assert first.position.epoch_losses[-1] < first.position.epoch_losses[0]
    assert first.position.epoch_losses == second.position.epoch_losses
    for name, weight in weights_of(first).items():
        assert torch.equal(weight, weights_of(second)[name]), name


def test_another_seed_trains_other_weights(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    losses = []
    for seed in (1, 2):
        reseeded = plan.model_copy(update={"seed": seed})
        run = start_run(tiny_model(), reseeded)
        examples = encoded(run.loaded, tiny_rows, reseeded)
        train(run, examples, loss=build_loss(CrossEntropyLoss()), plan=reseeded, watchers=QUIET)
        losses.append(run.position.epoch_losses)
    assert losses[0] != losses[1]


def test_metrics_say_where_the_run_is(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    seen: list[StepMetrics] = []
    epochs: list[int] = []
    run = start_run(tiny_model(), plan)
    watchers = Watchers(on_metrics=seen.append, on_epoch=lambda run, epoch: epochs.append(epoch))
    examples = encoded(run.loaded, tiny_rows, plan)
    train(run, examples, loss=build_loss(CrossEntropyLoss()), plan=plan, watchers=watchers)
    last = seen[-1]
    assert (last.step, last.total_steps, last.epoch, last.eta_s) == (15, 15, 3, 0.0)
    assert last.tokens_per_second > 0
    assert last.grad_norm > 0
    assert epochs == [1, 2, 3]
    assert run.position.supervised_tokens == 3 * sum(len(each.completion_ids) for each in examples)


def test_a_diverging_run_stops_and_blames_the_learning_rate(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    run = start_run(tiny_model(), plan)
    with torch.no_grad():
        next(iter(run.loaded.model.parameters())).fill_(float("nan"))
    with pytest.raises(InvalidInput, match="learning rate") as caught:
        train(
            run,
            encoded(run.loaded, tiny_rows, plan),
            loss=build_loss(CrossEntropyLoss()),
            plan=plan,
            watchers=QUIET,
        )
    assert caught.value.code == "diverged"


def test_the_learning_rate_warms_up_and_decays_to_nothing(plan: TrainingPlan) -> None:
    rates = [learning_rate_at(step, total_steps=100, plan=plan) for step in range(100)]
    assert rates[0] == pytest.approx(plan.learning_rate / 5)
    assert max(rates) == pytest.approx(plan.learning_rate) == rates[4]
    assert rates[-1] == pytest.approx(plan.learning_rate / 95)
    assert rates[5:] == sorted(rates[5:], reverse=True)
