"""The loop: it learns, it repeats itself to the bit, it stops when it diverges."""

from collections.abc import Callable
from collections.abc import Sequence
from unittest.mock import patch

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

CPU = torch.device("cpu")
DECE = DeceLoss(alpha_base=0.9, label_smoothing=0.05)
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
        train(
            run,
            encoded(run.loaded, tiny_rows, plan),
            loss=build_loss(loss, device=CPU),
            plan=plan,
            watchers=QUIET,
        )
        runs.append(run)
    first, second = runs
    assert first.position.epoch_losses[-1] < first.position.epoch_losses[0]
    assert first.position.epoch_losses == second.position.epoch_losses
    for name, weight in weights_of(first).items():
        assert torch.equal(weight, weights_of(second)[name]), name


def test_i4_another_seed_trains_other_weights(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    losses = []
    for seed in (1, 2):
        reseeded = plan.model_copy(update={"seed": seed})
        run = start_run(tiny_model(), reseeded)
        examples = encoded(run.loaded, tiny_rows, reseeded)
        train(run, examples, loss=build_loss(CrossEntropyLoss(), device=CPU), plan=reseeded, watchers=QUIET)
        losses.append(run.position.epoch_losses)
    assert losses[0] != losses[1]


def test_the_gradient_weight_is_one_for_cross_entropy_and_falls_with_deces_epochs(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    def weights(loss: CrossEntropyLoss | DeceLoss) -> list[float]:
        seen: list[StepMetrics] = []
        # A rate so small that the model stays what it is: what changes is the loss.
        still = plan.model_copy(update={"learning_rate": 1e-9, "batch_size": 40})
        run = start_run(tiny_model(), still)
        done = build_loss(loss, device=CPU)
        examples = encoded(run.loaded, tiny_rows, still)
        with patch("training.loop.REPORT_EVERY_S", 0.0):
            watchers = Watchers(on_metrics=seen.append, on_epoch=lambda run, epoch: None)
            train(run, examples, loss=done, plan=still, watchers=watchers)
        return [metrics.gradient_weight for metrics in seen]

    assert weights(CrossEntropyLoss()) == pytest.approx([1.0, 1.0, 1.0])
    falling = weights(DeceLoss(alpha_base=0.8, label_smoothing=0.05))
    assert len(falling) == 3
    assert 1.0 > falling[0] > falling[1] > falling[2] > 0.0


def test_a_batch_in_parts_is_the_same_step(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    ends = []
    for micro_batch_tokens in (16_384, 64):
        cut = plan.model_copy(update={"micro_batch_tokens": micro_batch_tokens, "n_epochs": 1})
        run = start_run(tiny_model(), cut)
        for module in run.loaded.model.modules():
            # T5 keeps its rate in both forms; dropout's numbers do differ between the parts.
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            elif isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
        examples = encoded(run.loaded, tiny_rows, cut)
        train(run, examples, loss=build_loss(DECE, device=CPU), plan=cut, watchers=QUIET)
        ends.append(run)
    assert ends[1].position.epoch_losses == pytest.approx(ends[0].position.epoch_losses, rel=1e-4)
    assert ends[1].position.supervised_tokens == ends[0].position.supervised_tokens


def test_checkpointed_activations_change_nothing(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    losses = []
    for again in (False, True):
        chosen = plan.model_copy(update={"gradient_checkpointing": again, "n_epochs": 1})
        run = start_run(tiny_model(), chosen)
        assert run.loaded.model.is_gradient_checkpointing == again
        examples = encoded(run.loaded, tiny_rows, chosen)
        train(run, examples, loss=build_loss(DECE, device=CPU), plan=chosen, watchers=QUIET)
        losses.append(run.position.epoch_losses)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_in_bf16_the_weights_stay_fp32_and_the_loss_falls_alike(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        chosen = plan.model_copy(update={"precision": precision})
        run = start_run(tiny_model(), chosen)
        examples = encoded(run.loaded, tiny_rows, chosen)
        train(run, examples, loss=build_loss(DECE, device=CPU), plan=chosen, watchers=QUIET)
        assert {weight.dtype for weight in run.loaded.model.parameters()} == {torch.float32}
        losses.append(run.position.epoch_losses)
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert losses[1] != losses[0]


def test_metrics_say_where_the_run_is(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    seen: list[StepMetrics] = []
    epochs: list[int] = []
    run = start_run(tiny_model(), plan)
    watchers = Watchers(on_metrics=seen.append, on_epoch=lambda run, epoch: epochs.append(epoch))
    examples = encoded(run.loaded, tiny_rows, plan)
    train(run, examples, loss=build_loss(CrossEntropyLoss(), device=CPU), plan=plan, watchers=watchers)
    last = seen[-1]
    assert (last.step, last.total_steps, last.epoch, last.eta_s) == (15, 15, 3, 0.0)
    assert last.tokens_per_second > 0
    assert last.grad_norm > 0
    assert epochs == [1, 2, 3]
    assert run.position.supervised_tokens == 3 * sum(len(each.completion_ids) for each in examples)


def test_i2_a_diverging_run_stops_and_blames_the_learning_rate(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row], plan: TrainingPlan
) -> None:
    run = start_run(tiny_model(), plan)
    with torch.no_grad():
        next(iter(run.loaded.model.parameters())).fill_(float("nan"))
    with pytest.raises(InvalidInput, match="learning rate") as caught:
        train(
            run,
            encoded(run.loaded, tiny_rows, plan),
            loss=build_loss(CrossEntropyLoss(), device=CPU),
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
