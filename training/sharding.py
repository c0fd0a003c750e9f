"""Whether the ranks of a training replicate the model (DDP) or shard it (FSDP2): by the memory that each takes."""

import json
import os
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path

import torch

from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import TrainingPlan
from training.errors import PlatformFault
from training.lora import add_lora
from training.model import load_skeleton
from training.parallel import Sharding
from training.parallel import Together
from training.placement import WantedSharding
from training.sizing.memory import USABLE
from training.sizing.memory import device_memory
from training.sizing.memory import shape_of
from training.supervised_model import computes_in_bf16
from training.supervised_model import weights_dtype

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardingChoice:
    """How a model is shared, with the estimate that says so, in bytes of one rank."""

    sharding: Sharding
    ddp_bytes: int
    fsdp_bytes: int
    device_bytes: int
    """Of the smallest device of the training."""
    wanted: WantedSharding

    @property
    def said(self) -> str:
        """For people."""
        ddp, fsdp, there = (
            f"{size / 2**30:.1f} GiB" for size in (self.ddp_bytes, self.fsdp_bytes, self.device_bytes)
        )
        why = "" if self.wanted == "auto" else ", as the operator wants it"
        return (
            f"the model is {'replicated' if self.sharding == 'ddp' else 'sharded'} ({self.sharding}{why}): "
            f"estimated per rank {ddp} replicated, {fsdp} sharded, the smallest device has {there}"
        )


def device_bytes(device: torch.device, *, local_ranks: int) -> int:
    """Memory of a device: a GPU's own, or this rank's share of what the node's processes may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if CGROUP_LIMIT.is_file():
        limit = CGROUP_LIMIT.read_text().strip()
        there = min(there, int(limit)) if limit.isdigit() else there
    return there // local_ranks


def choose_sharding(
    base_dir: Path, plan: TrainingPlan, ranks: Together, *, wanted: WantedSharding, here_bytes: int
) -> ShardingChoice:
    """DDP where the estimate fits the smallest device, else FSDP, unless the operator wants one. All ranks call this.

    Raises:
        PlatformFault: not even a share of the model fits.
    """
    smallest = ranks.least(here_bytes)
    choice = _choose(base_dir, plan, ranks, wanted, smallest) if ranks.rank == 0 else None
    told = ranks.tell(b"" if choice is None else json.dumps(asdict(choice)).encode())
    choice = choice or ShardingChoice(**json.loads(told))
    if choice.sharding == "fsdp" and wanted == "auto" and choice.fsdp_bytes > USABLE * smallest:
        raise PlatformFault(
            ExitCode.OUT_OF_MEMORY,
            "out_of_memory",
            f"{choice.said}: take more or larger devices, lower hardening.training.micro_batch_tokens, "
            "or train an adapter",
        )
    return choice


def _choose(
    base_dir: Path, plan: TrainingPlan, ranks: Together, wanted: WantedSharding, smallest: int
) -> ShardingChoice:
    device = ranks.device
    dtype = weights_dtype(plan.precision, device, frozen=plan.adapter is not None)
    loaded = load_skeleton(base_dir, device=device, dtype=dtype)
    shape = shape_of(loaded.model.config.to_dict(), parameters=loaded.parameters)
    trainable = None
    if plan.adapter is not None:
        add_lora(loaded, plan.adapter)
        trainable = sum(weight.numel() for weight in loaded.model.parameters() if weight.requires_grad)
    bf16 = computes_in_bf16(plan.precision, device)
    ddp, fsdp = (
        device_memory(shape, plan, sharding=sharding, ranks=ranks.world, bf16=bf16, trainable=trainable).total
        for sharding in ("ddp", "fsdp")
    )
    fits: Sharding = "ddp" if ddp <= USABLE * smallest else "fsdp"
    return ShardingChoice(
        sharding=fits if wanted == "auto" else wanted,
        ddp_bytes=ddp,
        fsdp_bytes=fsdp,
        device_bytes=smallest,
        wanted=wanted,
    )
