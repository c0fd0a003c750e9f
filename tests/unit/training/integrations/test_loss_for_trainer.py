"""A loss in a real Trainer is the function of the same batch, counted as Trainer counts."""

import functools
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from training.integrations import DeceForTrainer
from training.integrations import IntegrationError
from training.integrations import LossForTrainer
from training.integrations import NotAttached
from training.integrations import UnsupportedModel
from training.integrations.head import head_of
from training.integrations.head import rows_of
from training.losses import GradientMeter
from training.losses import dece
from training.losses import generalised_cross_entropy
from training.losses import in_trust

Make = Callable[..., Any]
Rows = list[dict[str, torch.Tensor]]


@pytest.fixture(params=["decoder", "capped", "encoder-decoder", "classifier", "tagger"])
def task(request: pytest.FixtureRequest, tiny_roberta: Callable[[str], Make]) -> tuple[Make, Rows]:
    """A model and rows for it."""
    fixture = request.getfixturevalue
    tasks: dict[str, Callable[[], tuple[Make, Rows]]] = {
        "decoder": lambda: (fixture("tiny_llama"), fixture("causal_rows")),
        "capped": lambda: (fixture("tiny_gemma"), fixture("causal_rows")),
        "encoder-decoder": lambda: (fixture("tiny_t5"), fixture("translation_rows")),
        "classifier": lambda: (tiny_roberta("SequenceClassification"), fixture("classified_rows")),
        "tagger": lambda: (tiny_roberta("TokenClassification"), fixture("tagged_rows")),
    }
    return tasks[request.param]()


def _batch(rows: Rows) -> dict[str, torch.Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _by_hand(model: Any, rows: Rows, **options: Any) -> torch.Tensor:
    batch = _batch(rows)
    labels = batch.pop("labels")
    logits, targets = rows_of(head_of(model), model(**batch).logits, labels)
    return dece(logits, targets, **options)


def test_one_step_is_that_of_the_function_on_the_same_batch(
    task: tuple[Make, Rows], trainer: Make, weights: Make, losses: Make
) -> None:
    make, rows = task
    one = trainer(make(), rows[:6], per_device_train_batch_size=6)
    DeceForTrainer(alpha_base=0.8, label_smoothing=0.1).attach(one)
    one.train()
    model, meter = make(), GradientMeter()
    loss = _by_hand(model, rows[:6], alpha=0.8, label_smoothing=0.1, meter=meter)
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert losses(one) == pytest.approx([loss.item()], rel=1e-5)
    assert one.state.log_history[0]["gradient_weight"] == pytest.approx(meter.value(), rel=1e-5)
    for name, value in weights(one.model).items():
        torch.testing.assert_close(value, model.get_parameter(name), rtol=1e-4, atol=1e-6)


@pytest.fixture
def stock_and_ours(trainer: Make) -> Make:
    """A stock run, and the same with DeCE that neither blends nor smooths, which is cross-entropy."""

    def make(build: Make, rows: Rows, **settings: Any) -> tuple[Any, Any]:
        stock, ours = trainer(build(), rows, **settings), trainer(build(), rows, **settings)
        DeceForTrainer(alpha_base=1.0, label_smoothing=0.0).attach(ours)
        stock.train()
        ours.train()
        return stock, ours

    return make


def _alike(ours: Any, stock: Any) -> None:
    pairs = [(one["loss"], other["loss"]) for one, other in _steps(ours, stock)]
    assert len(pairs) > 1
    assert [one for one, _ in pairs] == pytest.approx([other for _, other in pairs], rel=1e-4)
    for name, value in ours.model.named_parameters():
        torch.testing.assert_close(value, stock.model.get_parameter(name), rtol=1e-3, atol=1e-5)


def _steps(ours: Any, stock: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(ours.state.log_history[:-1], stock.state.log_history[:-1], strict=True))


def test_without_blending_and_smoothing_a_run_is_the_stock_run(
    task: tuple[Make, Rows], stock_and_ours: Make
) -> None:
    stock, ours = stock_and_ours(*task)
    _alike(ours, stock)
    weights = [entry["gradient_weight"] for entry in ours.state.log_history[:-1]]
    assert weights == pytest.approx([1.0] * 7, rel=1e-4)


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gemma"])
def test_it_is_the_stock_run_also_where_batches_come_in_parts(
    request: pytest.FixtureRequest, causal_rows: Rows, stock_and_ours: Make, kind: str
) -> None:
    """Decoders only: the stock loss of others ignores num_items_in_batch and so grows with the number of parts."""
    stock, ours = stock_and_ours(request.getfixturevalue(kind), causal_rows, gradient_accumulation_steps=3)
    _alike(ours, stock)


def test_a_mixture_of_experts_keeps_its_balancing_loss(
    tiny_mixtral: Make, causal_rows: Rows, stock_and_ours: Make
) -> None:
    stock, ours = stock_and_ours(tiny_mixtral, causal_rows)
    _alike(ours, stock)


def test_four_parts_are_one_batch(
    task: tuple[Make, Rows], trainer: Make, weights: Make, losses: Make
) -> None:
    make, rows = task
    runs = []
    for parts in (1, 4):
        run = trainer(
            make(),
            rows[:8],
            per_device_train_batch_size=8 // parts,
            gradient_accumulation_steps=parts,
        )
        DeceForTrainer(alpha_base=0.9).attach(run)
        run.train()
        runs.append(run)
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), rel=1e-5)
    first = [run.state.log_history[0]["gradient_weight"] for run in runs]
    assert first[1] == pytest.approx(first[0], rel=1e-5)
    for name, value in weights(runs[1].model).items():
        torch.testing.assert_close(value, runs[0].model.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_the_balancing_loss_is_a_mean_over_the_parts_of_a_step(
    tiny_mixtral: Make, causal_rows: Rows, trainer: Make, losses: Make
) -> None:
    alike = [causal_rows[0]] * 8
    logged = []
    for parts in (1, 4):
        run = trainer(
            tiny_mixtral(), alike, per_device_train_batch_size=8 // parts, gradient_accumulation_steps=parts
        )
        DeceForTrainer().attach(run)
        run.train()
        logged.append(losses(run))
    assert logged[1] == pytest.approx(logged[0], rel=1e-5)


def test_only_the_adapter_of_a_peft_model_is_trained(
    tiny_llama: Make, causal_rows: Rows, trainer: Make, weights: Make
) -> None:
    from peft import LoraConfig
    from peft import get_peft_model

    model = get_peft_model(tiny_llama(), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]))
    before = weights(model)
    run = trainer(model, causal_rows)
    DeceForTrainer().attach(run)
    run.train()
    moved = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)


@pytest.mark.parametrize(
    "function", [functools.partial(generalised_cross_entropy, q=0.3), functools.partial(in_trust, delta=0.4)]
)
def test_the_losses_it_is_compared_with_train_too(
    tiny_llama: Make, causal_rows: Rows, trainer: Make, losses: Make, function: Any
) -> None:
    run = trainer(tiny_llama(), causal_rows[:4], per_device_train_batch_size=4)
    LossForTrainer(function).attach(run)
    run.train()
    model, batch = tiny_llama(), _batch(causal_rows[:4])
    logits, targets = rows_of(head_of(model), model(input_ids=batch["input_ids"]).logits, batch["labels"])
    assert losses(run) == pytest.approx([function(logits, targets).item()], rel=1e-5)


@pytest.mark.parametrize("averaged", [True, False])
def test_several_gpus_in_one_process_count_as_one(
    tiny_llama: Make, causal_rows: Rows, trainer: Make, averaged: bool
) -> None:
    run = trainer(tiny_llama(), causal_rows)
    loss = DeceForTrainer(eval_loss="cross_entropy").attach(run)
    batch = _batch(causal_rows[:4])
    outputs = run.model(input_ids=batch["input_ids"])
    count = (batch["labels"][:, 1:] != -100).sum()
    gpus = 2
    # What Trainer hands over under nn.DataParallel, and what it does with the loss afterwards.
    each = count if averaged else count // gpus
    with torch.no_grad():
        value = loss(outputs, batch["labels"], num_items_in_batch=each.unsqueeze(0).expand(gpus, -1))
        value *= gpus if averaged else 1
        truth = loss(outputs, batch["labels"])
    assert value.mean().item() == pytest.approx(truth.item(), rel=1e-6 if averaged else 1 / count.item())


def test_a_batch_without_supervised_rows_costs_nothing(
    tiny_llama: Make, causal_rows: Rows, trainer: Make, weights: Make, losses: Make
) -> None:
    silent = [{**row, "labels": torch.full_like(row["labels"], -100)} for row in causal_rows[:2]]
    run = trainer(tiny_llama(), silent)
    DeceForTrainer().attach(run)
    before = weights(run.model)
    run.train()
    assert losses(run) == [0.0]
    assert run.state.log_history[0]["gradient_weight"] == 1.0
    assert all(torch.equal(value, before[name]) for name, value in weights(run.model).items())


class TestEvaluation:
    """What evaluations report."""

    @pytest.fixture
    def expected(self, causal_rows: Rows) -> Callable[..., float]:
        """Mean over the batches of four and four rows, as Trainer means."""

        def of(model: Any, **options: Any) -> float:
            with torch.no_grad():
                parts = [_by_hand(model, causal_rows[at : at + 4], **options).item() for at in (0, 4)]
            return sum(parts) / 2

        return of

    def test_it_is_dece_at_the_position_of_the_run(
        self, tiny_llama: Make, causal_rows: Rows, trainer: Make, expected: Make
    ) -> None:
        run = trainer(tiny_llama(), causal_rows, eval_rows=causal_rows[:8], num_train_epochs=3)
        DeceForTrainer(alpha_base=0.8).attach(run)
        before = run.evaluate()["eval_loss"]
        assert before == pytest.approx(expected(run.model, alpha=0.8), rel=1e-5)
        run.train()
        after = run.evaluate()["eval_loss"]
        assert after == pytest.approx(expected(run.model, alpha=0.8**3), rel=1e-5)

    def test_it_is_cross_entropy_where_that_is_asked_for(
        self, tiny_llama: Make, causal_rows: Rows, trainer: Make, expected: Make
    ) -> None:
        run = trainer(tiny_llama(), causal_rows, eval_rows=causal_rows[:8])
        DeceForTrainer(alpha_base=0.8, eval_loss="cross_entropy").attach(run)
        stock = trainer(tiny_llama(), causal_rows, eval_rows=causal_rows[:8])
        assert run.evaluate()["eval_loss"] == pytest.approx(stock.evaluate()["eval_loss"], rel=1e-5)
        run.train()
        plain = expected(run.model, alpha=1.0, label_smoothing=0.0)
        assert run.evaluate()["eval_loss"] == pytest.approx(plain, rel=1e-5)

    def test_it_leaves_the_gradient_weight_alone(
        self, tiny_llama: Make, causal_rows: Rows, trainer: Make
    ) -> None:
        logged = []
        for strategy in ("no", "steps"):
            settings = {"eval_strategy": strategy, "eval_steps": 1, "logging_steps": 3}
            run = trainer(tiny_llama(), causal_rows, eval_rows=causal_rows[:8], **settings)
            DeceForTrainer().attach(run)
            run.train()
            logged.append([e["gradient_weight"] for e in run.state.log_history if "gradient_weight" in e])
        assert len(logged[0]) == 2
        assert logged[1] == logged[0]


class TestLogs:
    """Where the gradient weight is to be seen."""

    def test_whoever_reports_the_logs_sees_it(
        self, tiny_llama: Make, causal_rows: Rows, trainer: Make
    ) -> None:
        from transformers import TrainerCallback

        seen: list[dict[str, Any]] = []

        class Reporter(TrainerCallback):  # type: ignore[misc]
            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                del args, state, control, kwargs
                seen.append(dict(logs))

        run = trainer(tiny_llama(), causal_rows, callbacks=[Reporter()])
        DeceForTrainer().attach(run)
        run.train()
        assert [0.0 < entry["gradient_weight"] < 1.0 for entry in seen[:-1]] == [True] * 7
        assert "gradient_weight" not in seen[-1]

    def test_it_covers_the_steps_since_the_last_entry(
        self, tiny_llama: Make, causal_rows: Rows, trainer: Make
    ) -> None:
        """Summed before it is divided: between the least and the greatest of its steps."""
        logged = []
        for steps in (1, 7):
            run = trainer(tiny_llama(), causal_rows, num_train_epochs=2, logging_steps=steps)
            DeceForTrainer(alpha_base=0.5).attach(run)
            run.train()
            logged.append([e["gradient_weight"] for e in run.state.log_history if "gradient_weight" in e])
        every, (first, second) = logged
        assert min(every[:7]) < first < max(every[:7])
        assert min(every[7:]) < second < max(every[7:]) < min(every[:7])


class TestMistakes:
    """A loss that cannot know the epoch, or has no classes, says so instead of training."""

    def test_a_loss_that_was_not_attached(self, tiny_llama: Make, causal_rows: Rows, trainer: Make) -> None:
        run = trainer(tiny_llama(), causal_rows, compute_loss_func=DeceForTrainer())
        with pytest.raises(NotAttached, match=r"dece\.attach\(trainer\)"):
            run.train()

    @pytest.mark.parametrize("trained", [False, True], ids=["new", "that has trained"])
    def test_a_loss_that_is_attached_to_another_trainer(
        self, tiny_llama: Make, causal_rows: Rows, trainer: Make, trained: bool
    ) -> None:
        other = trainer(tiny_llama(), causal_rows)
        loss = DeceForTrainer().attach(other)
        if trained:
            other.train()
        run = trainer(tiny_llama(), causal_rows, compute_loss_func=loss)
        with pytest.raises(NotAttached):
            run.train()

    def test_a_loss_that_is_attached_to_two_trainers(
        self, tiny_llama: Make, causal_rows: Rows, trainer: Make
    ) -> None:
        loss = DeceForTrainer().attach(trainer(tiny_llama(), causal_rows))
        with pytest.raises(IntegrationError, match="attached already"):
            loss.attach(trainer(tiny_llama(), causal_rows))

    def test_a_trainer_that_has_a_loss(self, tiny_llama: Make, causal_rows: Rows, trainer: Make) -> None:
        run = trainer(tiny_llama(), causal_rows, compute_loss_func=lambda *_, **__: None)
        with pytest.raises(IntegrationError, match="has a compute_loss_func"):
            DeceForTrainer().attach(run)

    def test_a_loss_that_was_passed_and_attached_is_fine(
        self, tiny_llama: Make, causal_rows: Rows, trainer: Make
    ) -> None:
        loss = DeceForTrainer()
        run = trainer(tiny_llama(), causal_rows, compute_loss_func=loss, callbacks=[loss])
        loss.attach(run)
        run.train()
        assert run.callback_handler.callbacks.count(loss) == 1

    def test_an_unknown_evaluation(self) -> None:
        with pytest.raises(ValueError, match="eval_loss='mse'"):
            DeceForTrainer(eval_loss="mse")  # type: ignore[arg-type]

    def test_a_hyperparameter_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="alpha_base"):
            DeceForTrainer(alpha_base=1.5)

    def test_a_regression(
        self, tiny_roberta: Callable[[str], Make], classified_rows: Rows, trainer: Make
    ) -> None:
        run = trainer(tiny_roberta("SequenceClassification")(num_labels=1), classified_rows)
        with pytest.raises(UnsupportedModel, match="regression"):
            DeceForTrainer().attach(run)

    def test_a_batch_without_labels(self, tiny_llama: Make, causal_rows: Rows, trainer: Make) -> None:
        run = trainer(tiny_llama(), [{"input_ids": row["input_ids"]} for row in causal_rows])
        DeceForTrainer().attach(run)
        with pytest.raises(UnsupportedModel, match="no labels"):
            run.train()

    def test_outputs_without_logits(self, tiny_llama: Make, causal_rows: Rows, trainer: Make) -> None:
        loss = DeceForTrainer().attach(trainer(tiny_llama(), causal_rows))
        labels = torch.zeros(1, 2, dtype=torch.int64)
        with torch.no_grad(), pytest.raises(UnsupportedModel, match="no logits"):
            loss({}, labels)
        with torch.no_grad():
            assert loss((torch.zeros(1, 2, 5),), labels).isfinite()

    def test_an_encoder_decoder_whose_decoder_would_read_the_source(
        self, tiny_bart: Make, translation_rows: Rows, trainer: Make
    ) -> None:
        """The source as long as the target, so that nothing else tells."""
        bare = [
            {"input_ids": row["labels"].clamp(min=3), "labels": row["labels"]} for row in translation_rows
        ]
        run = trainer(tiny_bart(), bare)
        DeceForTrainer().attach(run)
        with pytest.raises(UnsupportedModel, match=r"DataCollatorForSeq2Seq\(tokenizer, model=model\)"):
            run.train()

    def test_the_model_is_its_users_again_after_the_run(
        self, tiny_bart: Make, translation_rows: Rows, trainer: Make
    ) -> None:
        run = trainer(tiny_bart(), translation_rows)
        DeceForTrainer().attach(run)
        run.train()
        assert run.model.train()(input_ids=translation_rows[0]["input_ids"][None]).logits.isfinite().all()


class TestUnsizedData:
    """A training set without a length has no epochs."""

    @pytest.fixture
    def endless(self, causal_rows: Rows) -> Any:
        from torch.utils.data import IterableDataset

        class Stream(IterableDataset[dict[str, torch.Tensor]]):
            def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
                return iter(causal_rows)

        return Stream()

    def test_a_schedule_over_epochs_is_refused(self, tiny_llama: Make, endless: Any, trainer: Make) -> None:
        run = trainer(tiny_llama(), endless, max_steps=5)
        DeceForTrainer().attach(run)
        with pytest.raises(IntegrationError, match="schedule='step'"):
            run.train()

    def test_a_schedule_over_steps_goes_on(self, tiny_llama: Make, endless: Any, trainer: Make) -> None:
        run = trainer(tiny_llama(), endless, max_steps=5)
        loss = DeceForTrainer(alpha_base=0.9, schedule="step", span=2.0).attach(run)
        run.train()
        assert loss.alpha == pytest.approx(0.9**2)
