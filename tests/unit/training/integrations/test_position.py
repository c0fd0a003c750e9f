"""The loss is at the right place of its schedule in every part of every step, also after a resume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.integrations import DeceForTrainer

Make = Callable[..., Any]
Rows = list[dict[str, torch.Tensor]]

PARTS = [3, 3, 1]
"""Micro-batches of the steps of an epoch: seven batches of two rows, three of them a step."""


@pytest.fixture
def recorded(tiny_llama: Make, causal_rows: Rows, trainer: Make) -> Make:
    """Builds a run of three epochs and a list that holds the blending weight of every forward in training."""

    def make(dece: DeceForTrainer, **settings: Any) -> tuple[Any, list[float]]:
        defaults = {"num_train_epochs": 3, "gradient_accumulation_steps": 3, "optim": "adamw_torch"}
        model = tiny_llama()
        run = trainer(model, causal_rows, **{**defaults, **settings})
        dece.attach(run)
        alphas: list[float] = []
        model.register_forward_hook(lambda module, *_: alphas.append(dece.alpha) if module.training else None)
        return run, alphas

    return make


def test_an_epoch_is_an_exponent(recorded: Make) -> None:
    run, alphas = recorded(DeceForTrainer(alpha_base=0.9))
    run.train()
    assert alphas == pytest.approx([0.9] * 7 + [0.9**2] * 7 + [0.9**3] * 7, rel=1e-12)


def test_a_step_is_a_share_of_the_span(recorded: Make) -> None:
    run, alphas = recorded(DeceForTrainer(alpha_base=0.9, schedule="step", span=5.0))
    run.train()
    steps = [step for step, parts in enumerate(PARTS * 3, start=1) for _ in range(parts)]
    assert alphas == pytest.approx([0.9 ** (5.0 * step / 9) for step in steps], rel=1e-12)


def test_a_run_of_so_many_steps_counts_its_epochs(recorded: Make) -> None:
    run, alphas = recorded(DeceForTrainer(alpha_base=0.9), max_steps=5)
    run.train()
    assert alphas == pytest.approx([0.9] * 7 + [0.9**2] * 6, rel=1e-12)


def test_an_epoch_that_a_callback_ends_early_is_one(recorded: Make) -> None:
    from transformers import TrainerCallback

    class Impatient(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            del args, kwargs
            control.should_epoch_stop = state.global_step in {1, 3}

    run, alphas = recorded(DeceForTrainer(alpha_base=0.9))
    run.add_callback(Impatient())
    run.train()
    assert alphas == pytest.approx([0.9] * 3 + [0.9**2] * 6 + [0.9**3] * 7, rel=1e-12)


@pytest.mark.parametrize("schedule", ["epoch", "step"])
@pytest.mark.parametrize("saved", [3, 5], ids=["between epochs", "within the second epoch"])
def test_a_resumed_run_is_the_run(
    recorded: Make, weights: Make, tmp_path: Path, schedule: Any, saved: int
) -> None:
    whole, alphas = recorded(
        DeceForTrainer(alpha_base=0.9, schedule=schedule),
        save_strategy="steps",
        save_steps=saved,
        output_dir=str(tmp_path / "whole"),
    )
    whole.train()
    rest, later = recorded(DeceForTrainer(alpha_base=0.9, schedule=schedule))
    rest.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{saved}"))
    done = sum((PARTS * 3)[:saved])
    assert later == alphas[done:]
    for name, value in weights(rest.model).items():
        assert torch.equal(value, whole.model.get_parameter(name)), name


def test_an_evaluation_before_the_first_step_of_a_resumed_run_is_at_its_place(
    recorded: Make, causal_rows: Rows, tmp_path: Path
) -> None:
    saved = {"save_strategy": "steps", "save_steps": 5, "output_dir": str(tmp_path / "whole")}
    recorded(DeceForTrainer(alpha_base=0.9), **saved)[0].train()
    dece = DeceForTrainer(alpha_base=0.9)
    run, _ = recorded(dece, eval_on_start=True, eval_strategy="epoch", eval_rows=causal_rows)
    seen: list[float] = []
    evaluate = run.evaluate
    run.evaluate = lambda *args, **kwargs: (seen.append(dece.alpha), evaluate(*args, **kwargs))[1]
    run.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))
    assert seen == pytest.approx([0.9**2, 0.9**2, 0.9**3], rel=1e-12)


def test_a_finished_run_that_is_resumed_stays_in_its_last_epoch(recorded: Make, tmp_path: Path) -> None:
    saved = {"save_strategy": "epoch", "output_dir": str(tmp_path / "whole")}
    recorded(DeceForTrainer(alpha_base=0.9), **saved)[0].train()
    dece = DeceForTrainer(alpha_base=0.9)
    run, alphas = recorded(dece)
    run.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-9"))
    assert alphas == []
    assert dece.alpha == pytest.approx(0.9**3)


def test_a_second_run_begins_anew(recorded: Make) -> None:
    run, alphas = recorded(DeceForTrainer(alpha_base=0.9), num_train_epochs=2)
    run.train()
    run.train()
    assert alphas == pytest.approx(([0.9] * 7 + [0.9**2] * 7) * 2, rel=1e-12)
