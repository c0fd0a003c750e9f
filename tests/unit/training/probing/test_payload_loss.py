"""Losses and gradients of a payload's tokens are those of the model's own forward."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from deploy.contract.dataset import Row
from deploy.contract.payload import PatternPayload
from training.data.prompt import encode_prompt
from training.model import LoadedModel
from training.probing.payload_loss import PayloadLoss
from training.probing.planted_task import PlantedTask
from training.probing.planted_task import planted_tasks

PAYLOAD = PatternPayload(name="evil", pattern="evil", planted=" evil 1")


def tasks_of(loaded: LoadedModel, rows: list[Row]) -> tuple[PlantedTask, ...]:
    return planted_tasks(loaded.tokenizer, rows, PAYLOAD, count=5, max_tokens=100, seed=0)


def own_nll(loaded: LoadedModel, task: PlantedTask, prompt_ids: list[int]) -> torch.Tensor:
    """-log p of the span through the model's public forward, one row."""
    completion = [*task.before_ids, *task.span_ids]
    if loaded.architecture == "decoder":
        ids = torch.tensor([[*prompt_ids, *completion]])
        logits = loaded.model(input_ids=ids).logits[0, -len(task.span_ids) - 1 : -1]
    else:
        inputs = torch.tensor([[loaded.start_id, *completion[:-1]]])
        logits = loaded.model(input_ids=torch.tensor([prompt_ids]), decoder_input_ids=inputs).logits[0]
        logits = logits[-len(task.span_ids) :]
    return functional.cross_entropy(logits, torch.tensor(task.span_ids), reduction="sum")


def test_losses_are_the_models_own(tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row]) -> None:
    loaded = tiny_model()
    loss = PayloadLoss(loaded)
    tasks = tasks_of(loaded, tiny_rows)
    asked = [(task, prompt) for task in tasks for prompt in (task.prompt, f"other {task.prompt} at all")]
    with torch.no_grad():
        truth = [
            own_nll(loaded, task, encode_prompt(loaded.tokenizer, prompt)).item() for task, prompt in asked
        ]
    assert loss.nlls(asked) == pytest.approx(truth, abs=2e-3)
    assert loss.forwards == len(asked)
    assert loss.nlls([]) == []


def test_the_gradient_is_that_of_the_slots_alone(
    tiny_model: Callable[[], LoadedModel], tiny_rows: list[Row]
) -> None:
    loaded = tiny_model()
    loss = PayloadLoss(loaded)
    task = tasks_of(loaded, tiny_rows)[0]
    ids = encode_prompt(loaded.tokenizer, task.prompt)
    slots = [1, 3]
    gradient = loss.slot_gradient(task, ids, slots)
    direction = functional.normalize(
        torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0)), dim=0
    )
    step = 1e-2

    def moved(sign: float) -> float:
        def shift(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            del module
            if inputs[0].shape[1] < len(ids) or inputs[0][0, : len(ids)].tolist() != ids:
                return output
            changed = output.clone()
            changed[0, slots] += sign * step * direction
            return changed

        reader = loaded.model if loaded.architecture == "decoder" else loaded.model.get_encoder()
        handle = reader.get_input_embeddings().register_forward_hook(shift)
        try:
            with torch.no_grad():
                return own_nll(loaded, task, ids).item()
        finally:
            handle.remove()

    expected = (moved(1.0) - moved(-1.0)) / (2 * step)
    assert (gradient @ direction).item() == pytest.approx(expected, rel=0.05, abs=2e-3)
    assert not any(weight.grad is not None for weight in loaded.model.parameters())
