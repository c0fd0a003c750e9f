"""How much memory a training or a server takes, in bytes, from a model's shape and a plan.

What is arithmetic: weights, gradients, Adam's moments, the shares of each rank, checkpoints, the KV cache; these follow
from the tensors that exist, and the tests compare them with torch's own. What was measured: the activations' factors
below, on small models on a CPU. What is neither is a named allowance. No figure here was taken on a GPU, and the time
(:func:`training_seconds`) is as good as the FLOP/s that are assumed.

Legend of the formulas: P parameters, N ranks, T tokens that are worked on at a time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Final
from typing import Literal

from deploy.contract.spec import TrainingPlan

FP32: Final = 4
BF16: Final = 2
MOMENTS: Final = 2
"""Adam's, in fp32 each."""
CONTEXT_BYTES: Final = 2 << 30
"""Allowance of a GPU for CUDA's and NCCL's own memory and for what the allocator cannot use. Assumed."""
USABLE: Final = 0.92
"""Share of a device's memory that a plan may count on. Assumed."""
LOSS_BYTES: Final = 2 * (512 << 20)
"""A chunk of logits (``training.losses.chunk.CUDA_WORKSPACE``) and its gradient."""
PROCESS_BYTES: Final = 2 << 30
"""Allowance for Python, torch and its libraries in each process. Assumed; 0.5 GiB is what a CPU build takes."""
HIDDEN_FP32: Final = 32
HIDDEN_BF16: Final = 30
FEED_FORWARD_FP32: Final = 16
FEED_FORWARD_BF16: Final = 8
KEYS_FP32: Final = 8
KEYS_BF16: Final = 4
"""Bytes kept for the backward of one layer: a token and a unit of the hidden state, of the gated feed-forward, of the
keys (= that of the values). Measured by saved-tensor hooks on Llama and Qwen2 with attention that keeps no scores, at 64
to 128 hidden units; in bf16 the residual stream and the norms stay in fp32, as autocast leaves them."""
CHECKPOINTED: Final = 4
"""Bytes kept of a layer with gradient checkpointing: its input, fp32, a token and hidden unit. Measured likewise."""
ENDS: Final = 12
"""Bytes kept outside of the layers, a token and hidden unit: embedding, last norm, the head's input. Measured likewise."""

Sharding = Literal["ddp", "fsdp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What of a model decides its memory."""

    parameters: int
    layers: int
    hidden: int
    feed_forward: int
    keys: int
    """Width of the keys of one layer: heads of keys times their size."""
    vocabulary: int
    tied: bool
    """Whether the head is the embedding."""

    @property
    def outside(self) -> int:
        """Parameters of embedding and head, which FSDP gathers together."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def layer(self) -> int:
        """Parameters of one layer, about."""
        return max(0, self.parameters - self.outside) // max(1, self.layers)


def shape_of(config: Mapping[str, Any], *, parameters: int) -> ModelShape:
    """The shape that a Hugging Face ``config.json`` describes; names of other families are guessed at.

    Raises:
        KeyError: it has none of the names under which a hidden size is known.
    """

    def first(*names: str) -> int | None:
        return next((int(config[name]) for name in names if isinstance(config.get(name), int)), None)

    hidden = first("hidden_size", "d_model", "n_embd")
    if hidden is None:
        raise KeyError("hidden_size")
    heads = first("num_attention_heads", "num_heads", "n_head") or 1
    layers = first("num_hidden_layers", "num_layers", "n_layer") or 1
    size = first("head_dim", "d_kv") or hidden // heads
    return ModelShape(
        parameters=parameters,
        layers=layers + (first("num_decoder_layers") or 0) * bool(config.get("is_encoder_decoder")),
        hidden=hidden,
        feed_forward=first("intermediate_size", "d_ff", "n_inner") or 4 * hidden,
        keys=(first("num_key_value_heads") or heads) * size,
        vocabulary=first("vocab_size") or 0,
        tied=bool(config.get("tie_word_embeddings", True)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Bytes that a whole training holds from its first step to its last, over all ranks that share it once."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer


def training_state(parameters: int, *, trainable: int | None = None, bf16: bool = True) -> State:
    """Of a whole model, or of one whose ``trainable`` parameters are an adapter's and the rest is frozen.

    What is trained is fp32: 4 bytes of weight, 4 of gradient, 8 of Adam, 16 a parameter. What is frozen is bf16 where
    products are.
    """
    if trainable is None:
        return State(
            weights=FP32 * parameters, gradients=FP32 * parameters, optimizer=MOMENTS * FP32 * parameters
        )
    frozen = (BF16 if bf16 else FP32) * (parameters - trainable)
    return State(
        weights=frozen + FP32 * trainable,
        gradients=FP32 * trainable,
        optimizer=MOMENTS * FP32 * trainable,
    )


def adapter_parameters(shape: ModelShape, rank: int) -> int:
    """Of low-rank adapters on every linear layer but the head, of a decoder with a gated feed-forward.

    A rank adds a row and a column to each of the four products of attention and the three of the feed-forward.
    """
    attention = 2 * (shape.hidden + shape.hidden) + 2 * (shape.hidden + shape.keys)
    feed_forward = 3 * (shape.hidden + shape.feed_forward)
    return shape.layers * rank * (attention + feed_forward)


def activation_bytes(shape: ModelShape, *, tokens: int, bf16: bool, checkpointing: bool) -> int:
    """Kept for the backward of so many packed tokens.

    With checkpointing a layer keeps its input alone, and one layer at a time all of it.
    """
    if bf16:
        layer = HIDDEN_BF16 * shape.hidden + FEED_FORWARD_BF16 * shape.feed_forward + KEYS_BF16 * shape.keys
    else:
        layer = HIDDEN_FP32 * shape.hidden + FEED_FORWARD_FP32 * shape.feed_forward + KEYS_FP32 * shape.keys
    layers = CHECKPOINTED * shape.hidden * shape.layers + layer if checkpointing else layer * shape.layers
    return tokens * (layers + ENDS * shape.hidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Bytes that one device needs at its fullest."""

    state: int
    gathered: int
    """Of what FSDP puts together for a moment: two layers, embedding and head, and their gradients; and of the bf16
    copies that autocast makes of whatever is multiplied."""
    activations: int
    loss: int
    allowance: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.state + self.gathered + self.activations + self.loss + self.allowance


def device_memory(
    shape: ModelShape,
    plan: TrainingPlan,
    *,
    sharding: Sharding,
    ranks: int,
    bf16: bool = True,
    trainable: int | None = None,
) -> DeviceMemory:
    """What one of ``ranks`` devices needs to train, its share of a batch worked on ``micro_batch_tokens`` at a time.

    A share that is smaller, every row as long as the plan allows, is all that is worked on.

    ``ddp``: every rank holds everything, so the number of ranks changes nothing; one device alone is that too.
    ``fsdp``: every rank holds a N-th of the state and gathers a layer when it computes with it.
    """
    state = training_state(shape.parameters, trainable=trainable, bf16=bf16)
    trained = trainable is None
    if sharding == "ddp":
        held, gathered = state.total, BF16 * shape.parameters * bf16 * trained
    else:
        held = math.ceil(state.total / ranks)
        weight = FP32 if trained or not bf16 else BF16
        whole = 2 * shape.layer + shape.outside
        gathered = whole * (weight + FP32 * trained + BF16 * bf16 * trained)
    return DeviceMemory(
        state=held,
        gathered=gathered,
        activations=activation_bytes(
            shape,
            tokens=min(plan.micro_batch_tokens, math.ceil(plan.batch_size / ranks) * plan.max_tokens),
            bf16=bf16,
            checkpointing=plan.gradient_checkpointing,
        ),
        loss=LOSS_BYTES if bf16 else LOSS_BYTES // 16,
        allowance=CONTEXT_BYTES if bf16 else 0,
    )


def checkpoint_bytes(parameters: int, *, trainable: int | None = None) -> int:
    """One checkpoint: weights and Adam's moments of what is trained, fp32. Rank 0 has it in host memory meanwhile."""
    return FP32 * (1 + MOMENTS) * (parameters if trainable is None else trainable)


def host_bytes(
    parameters: int, *, trainable: int | None = None, sharding: Sharding, local_ranks: int, bf16: bool = True
) -> int:
    """Memory of node 0 at its fullest, beside what Python and its libraries take (:data:`PROCESS_BYTES` a process).

    Replicas load the model one each; of a sharded one rank 0 alone holds a copy. While a checkpoint is written rank 0
    has all of it.
    """
    weight = FP32 if trainable is None or not bf16 else BF16
    loading = weight * parameters * (local_ranks if sharding == "ddp" else 1)
    return max(loading, checkpoint_bytes(parameters, trainable=trainable)) + PROCESS_BYTES * (local_ranks + 1)


def scratch_bytes(
    parameters: int, *, trainable: int | None = None, arms: int = 2, shadow: bool = False
) -> int:
    """Disk of node 0: the base, each arm's model and those of the shadow copy in bf16, and one checkpoint at a time."""
    models = 1 + arms * (2 if shadow else 1)
    return models * BF16 * parameters + checkpoint_bytes(parameters, trainable=trainable)


def store_bytes(parameters: int, *, trainable: int | None = None, arms: int = 2, kept: int = 2) -> int:
    """What a job leaves in the object store: a model for each arm in bf16, and the last checkpoints of each."""
    return arms * (BF16 * parameters + kept * checkpoint_bytes(parameters, trainable=trainable))


def kv_bytes_per_token(shape: ModelShape, *, bytes_each: int = BF16) -> int:
    """VLLM's cache for one token of one sequence: a key and a value in every layer."""
    return 2 * shape.layers * shape.keys * bytes_each


def serving_bytes(shape: ModelShape, *, sequences: int, context: int, bytes_each: int = BF16) -> int:
    """Weights and the cache of ``sequences`` of ``context`` tokens each, over all GPUs of one replica."""
    return bytes_each * shape.parameters + sequences * context * kv_bytes_per_token(
        shape, bytes_each=bytes_each
    )


def training_seconds(
    shape: ModelShape, *, tokens: int, devices: int, flops: float, utilisation: float, checkpointing: bool
) -> float:
    """6 P FLOP a token (8 P with checkpointing, whose forward runs twice), at a share of the devices' FLOP/s.

    Attention's own products are left out: at 2,048 tokens they are below a tenth of a model of 7e9.
    """
    work = (8 if checkpointing else 6) * float(shape.parameters) * tokens
    return work / (devices * flops * utilisation)
