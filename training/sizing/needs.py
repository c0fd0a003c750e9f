"""From a model and a device to how many of them a job takes, and how full they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deploy.contract.spec import Lora
from deploy.contract.spec import TrainingPlan
from training.sizing.memory import BF16
from training.sizing.memory import USABLE
from training.sizing.memory import ModelShape
from training.sizing.memory import Sharding
from training.sizing.memory import adapter_parameters
from training.sizing.memory import checkpoint_bytes
from training.sizing.memory import device_memory
from training.sizing.memory import host_bytes
from training.sizing.memory import scratch_bytes
from training.sizing.memory import serving_bytes
from training.sizing.memory import training_seconds

COUNTS: Final = tuple(2**power for power in range(9))
"""Of devices; those of one node, 8, divide the larger ones."""
OF_A_NODE: Final = 8
SERVED: Final = 0.9
"""Share of a GPU's memory that vLLM takes where it is told nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of the table."""

    gpu_bytes: int
    flops: float
    """Of one device, in the precision of the products."""
    utilisation: float
    tokens: int
    """Of one epoch, prompts and completions."""
    epochs: int = 3
    arms: int = 2
    """Trained: the hardened one and its control."""
    micro_batch_tokens: int = 16_384
    sequences: int = 32
    context: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Of one model trained in one way. Bytes; those of a device and of node 0 are at their fullest."""

    devices: int
    sharding: Sharding | None
    """None on one device."""
    checkpointing: bool
    device: int
    host: int
    scratch: int
    checkpoint: int
    seconds: float
    """Of all arms, without probing."""


def training_needs(shape: ModelShape, question: Question, *, adapter: Lora | None) -> Needs | None:
    """The least devices that train a model, with gradient checkpointing where that spares some; None where none do."""
    trainable = None if adapter is None else adapter_parameters(shape, adapter.rank)
    for devices in COUNTS:
        for checkpointing in (False, True):
            plan = TrainingPlan(
                n_epochs=1,
                # Rows enough to fill what is worked on at a time.
                batch_size=256,
                max_tokens=131_072,
                learning_rate=1.0,
                micro_batch_tokens=question.micro_batch_tokens,
                gradient_checkpointing=checkpointing,
                adapter=adapter,
            )
            sharding: Sharding = "ddp" if devices == 1 else "fsdp"
            memory = device_memory(shape, plan, sharding=sharding, ranks=devices, trainable=trainable)
            if memory.total <= USABLE * question.gpu_bytes:
                return _needs(shape, question, plan, devices=devices, device=memory.total)
    return None


def _needs(shape: ModelShape, question: Question, plan: TrainingPlan, *, devices: int, device: int) -> Needs:
    trainable = None if plan.adapter is None else adapter_parameters(shape, plan.adapter.rank)
    sharding: Sharding = "ddp" if devices == 1 else "fsdp"
    return Needs(
        devices=devices,
        sharding=None if devices == 1 else sharding,
        checkpointing=plan.gradient_checkpointing,
        device=device,
        host=host_bytes(
            shape.parameters, trainable=trainable, sharding=sharding, local_ranks=min(devices, OF_A_NODE)
        ),
        scratch=scratch_bytes(shape.parameters, trainable=trainable, arms=question.arms),
        checkpoint=checkpoint_bytes(shape.parameters, trainable=trainable),
        seconds=training_seconds(
            shape,
            tokens=question.tokens * question.epochs * question.arms,
            devices=devices,
            flops=question.flops,
            utilisation=question.utilisation,
            checkpointing=plan.gradient_checkpointing,
        ),
    )


def serving_devices(shape: ModelShape, question: Question, counts: Sequence[int] = COUNTS) -> int | None:
    """The least devices of one replica that hold the weights and the cache that was asked for."""
    needed = serving_bytes(shape, sequences=question.sequences, context=question.context, bytes_each=BF16)
    return next((count for count in counts if needed <= SERVED * question.gpu_bytes * count), None)
