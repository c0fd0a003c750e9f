"""The arithmetic against torch's own tensors: parameters, gradients, Adam's moments, what a backward keeps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig
from transformers import LlamaForCausalLM
from transformers import Qwen2Config
from transformers import Qwen2ForCausalLM

from deploy.contract.dataset import Row
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.spec import Lora
from deploy.contract.spec import TrainingPlan
from training.checkpoints import write_files
from training.data.example import encode_rows
from training.loop import Run
from training.loop import Watchers
from training.loop import start_run
from training.loop import train
from training.lora import add_lora
from training.losses import build_loss
from training.model import load_model
from training.sizing.memory import ModelShape
from training.sizing.memory import activation_bytes
from training.sizing.memory import adapter_parameters
from training.sizing.memory import checkpoint_bytes
from training.sizing.memory import device_memory
from training.sizing.memory import host_bytes
from training.sizing.memory import kv_bytes_per_token
from training.sizing.memory import scratch_bytes
from training.sizing.memory import serving_bytes
from training.sizing.memory import shape_of
from training.sizing.memory import store_bytes
from training.sizing.memory import training_seconds
from training.sizing.memory import training_state

PLAN = TrainingPlan(n_epochs=1, batch_size=8, learning_rate=1e-3, max_tokens=64)


def size(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def trained(directory: Path, rows: list[Row], plan: TrainingPlan) -> tuple[Run, int]:
    """A run after some steps, and the bytes of gradients that a step had."""
    loaded = load_model(directory, dtype=torch.float32)
    if plan.adapter is not None:
        add_lora(loaded, plan.adapter)
    run = start_run(loaded, plan)
    gradients: list[int] = []

    def measure(*_: Any) -> None:
        gradients.append(size(weight.grad for weight in loaded.model.parameters() if weight.grad is not None))

    run.optimizer.register_step_pre_hook(measure)
    examples = encode_rows(loaded.tokenizer, rows, max_tokens=plan.max_tokens).examples
    watchers = Watchers(on_metrics=lambda metrics: None, on_epoch=lambda run, epoch: None)
    loss = build_loss(CrossEntropyLoss(), device=loaded.device)
    train(run, examples, loss=loss, plan=plan, watchers=watchers)
    return run, max(gradients)


def moments(run: Run) -> int:
    """Without the counts of steps, of which there is one number a tensor."""
    return sum(
        size(value for key, value in state.items() if key != "step") for state in run.optimizer.state.values()
    )


@pytest.mark.parametrize("adapter", [None, Lora(rank=4)])
def test_state_is_what_torch_holds(
    tiny_decoder_dir: Path, tiny_rows: list[Row], tmp_path: Path, adapter: Lora | None
) -> None:
    plan = PLAN.model_copy(update={"adapter": adapter})
    run, gradients = trained(tiny_decoder_dir, tiny_rows[:16], plan)
    weights = list(run.loaded.model.parameters())
    parameters = sum(weight.numel() for weight in weights)
    trainable = sum(weight.numel() for weight in weights if weight.requires_grad)
    state = training_state(parameters, trainable=None if adapter is None else trainable, bf16=False)
    assert state.weights == size(weights)
    assert state.gradients == gradients
    assert state.optimizer == moments(run)
    write_files(run, {}, tmp_path)
    written = [*load_file(tmp_path / "weights.safetensors").values()]
    written += [
        t for n, t in load_file(tmp_path / "optimizer.safetensors").items() if not n.endswith("/step")
    ]
    told = checkpoint_bytes(parameters, trainable=None if adapter is None else trainable)
    assert told == size(written)


def test_frozen_weights_are_half_as_large_in_bf16() -> None:
    state = training_state(1000, trainable=10, bf16=True)
    assert (state.weights, state.gradients, state.optimizer) == (2 * 990 + 4 * 10, 40, 80)
    assert training_state(1000).total == 16_000


def shape_from(directory: Path) -> ModelShape:
    config = json.loads((directory / "config.json").read_text())
    return shape_of(config, parameters=load_model(directory).parameters)


def test_adapters_are_counted_as_peft_makes_them(tiny_decoder_dir: Path) -> None:
    loaded = load_model(tiny_decoder_dir)
    shape = shape_from(tiny_decoder_dir)
    add_lora(loaded, Lora(rank=3))
    made = sum(weight.numel() for weight in loaded.model.parameters() if weight.requires_grad)
    assert adapter_parameters(shape, 3) == made


Make = Callable[..., torch.nn.Module]


def llama(**sizes: Any) -> torch.nn.Module:
    return LlamaForCausalLM(LlamaConfig(**sizes))


def qwen2(**sizes: Any) -> torch.nn.Module:
    return Qwen2ForCausalLM(Qwen2Config(**sizes))


def kept_for_backward(model: torch.nn.Module, tokens: int, *, bf16: bool) -> int:
    """Bytes of all storages that autograd keeps and that are no weights."""
    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    storages: dict[int, int] = {}
    alive = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    ids = torch.randint(0, 50, (1, tokens))
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
    ):
        model.model(input_ids=ids, use_cache=False)  # type: ignore[operator]
    return sum(storages.values())


@pytest.mark.parametrize("make", [llama, qwen2])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_autograd_keeps(make: Make, bf16: bool, checkpointing: bool) -> None:
    """Without the one layer that checkpointing computes again, which the hooks see only in the backward."""
    torch.manual_seed(0)
    shape = ModelShape(
        parameters=0, layers=3, hidden=192, feed_forward=512, keys=64, vocabulary=64, tied=True
    )
    model = make(
        vocab_size=64,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=4096,
    ).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    kept = kept_for_backward(model, 512, bf16=bf16) - kept_for_backward(model, 256, bf16=bf16)
    told = activation_bytes(shape, tokens=256, bf16=bf16, checkpointing=checkpointing)
    if checkpointing:
        told -= activation_bytes(shape, tokens=256, bf16=bf16, checkpointing=False) // 3
    assert told == pytest.approx(kept, rel=0.1)


def test_a_share_of_the_state_is_held_by_each_of_several_ranks() -> None:
    shape = ModelShape(
        parameters=7_000_000_000,
        layers=32,
        hidden=4096,
        feed_forward=11_008,
        keys=4096,
        vocabulary=32_000,
        tied=False,
    )
    alone = device_memory(shape, PLAN, sharding="ddp", ranks=1)
    replicas = device_memory(shape, PLAN, sharding="ddp", ranks=8)
    shards = device_memory(shape, PLAN, sharding="fsdp", ranks=8)
    assert alone.state == replicas.state == 16 * shape.parameters
    assert shards.state == 2 * shape.parameters
    assert shards.total < replicas.total
    assert alone.activations > replicas.activations, "eight rows are one for each"
    # A layer of 4 h² + 3 h f parameters.
    assert shape.layer == pytest.approx(4 * 4096**2 + 3 * 4096 * 11_008, rel=0.05)


def test_the_work_at_a_time_bounds_the_activations() -> None:
    shape = ModelShape(
        parameters=10**6, layers=2, hidden=64, feed_forward=128, keys=64, vocabulary=300, tied=True
    )
    plan = PLAN.model_copy(update={"micro_batch_tokens": 64})
    small = device_memory(shape, plan, sharding="ddp", ranks=1)
    assert small.activations == activation_bytes(shape, tokens=64, bf16=True, checkpointing=False)
    large = device_memory(shape, PLAN, sharding="ddp", ranks=1)
    assert large.activations == 8 * small.activations, "eight rows of 64 tokens"


def test_the_cache_is_as_large_as_the_keys_and_values_of_a_model(tiny_decoder_dir: Path) -> None:
    loaded = load_model(tiny_decoder_dir)
    with torch.no_grad():
        cache = loaded.model(input_ids=torch.ones((1, 10), dtype=torch.long), use_cache=True).past_key_values
    held = size(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))
    shape = shape_from(tiny_decoder_dir)
    assert 10 * kv_bytes_per_token(shape, bytes_each=4) == held
    served = serving_bytes(shape, sequences=2, context=5, bytes_each=4)
    assert served == held + size(loaded.model.parameters())


def test_disk_and_store_add_up() -> None:
    """A million parameters: 2 MB a model in bf16, 12 MB a checkpoint."""
    million = 10**6
    assert scratch_bytes(million) == 3 * 2 * million + 12 * million
    assert scratch_bytes(million, arms=1, trainable=0, shadow=True) == 3 * 2 * million
    assert store_bytes(million) == 2 * (2 * million + 2 * 12 * million)
    one = host_bytes(million, trainable=0, sharding="ddp", local_ranks=1)
    assert host_bytes(million, trainable=0, sharding="ddp", local_ranks=2) - one == 2 * million + (2 << 30)


def test_time_is_work_over_speed() -> None:
    shape = ModelShape(parameters=10**9, layers=1, hidden=1, feed_forward=1, keys=1, vocabulary=1, tied=True)
    plain = training_seconds(shape, tokens=1000, devices=2, flops=1e12, utilisation=0.5, checkpointing=False)
    assert plain == pytest.approx(6.0)
    again = training_seconds(shape, tokens=1000, devices=2, flops=1e12, utilisation=0.5, checkpointing=True)
    assert again == pytest.approx(8.0)


def test_an_encoder_decoder_has_a_shape_too(tiny_encoder_decoder_dir: Path) -> None:
    shape = shape_from(tiny_encoder_decoder_dir)
    assert (shape.layers, shape.hidden, shape.feed_forward, shape.keys) == (4, 32, 64, 32)


def test_a_config_without_a_size_is_refused() -> None:
    with pytest.raises(KeyError, match="hidden_size"):
        shape_of({"vocab_size": 3}, parameters=3)
