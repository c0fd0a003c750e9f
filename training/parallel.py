"""Several processes that train one model, as torchrun starts them: replicated (DDP) or sharded (FSDP2)."""

import os
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any
from typing import Literal
from typing import Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor import distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from training.data.example import Example
from training.model import saved_weights

Sharding = Literal["ddp", "fsdp"]


class Ranks(Protocol):
    """The processes of a run, from the point of view of one."""

    @property
    def rank(self) -> int:
        """Of this process, from 0."""
        ...

    @property
    def world(self) -> int:
        """How many there are."""
        ...

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with its gradients averaged over all processes."""
        ...

    def shares(self, examples: Sequence[Example]) -> list[Sequence[Example]]:
        """The rows of a batch that each process takes, by rank."""
        ...

    def gradients_kept(self, wrapped: nn.Module, *, last: bool) -> Any:
        """Context of one part's forward and backward: gradients are exchanged with the last part only."""
        ...

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> float:
        """Scale all gradients down to a norm. Returns the norm before."""
        ...

    def sum(self, values: Sequence[float]) -> list[float]:
        """Every value, added up over all processes."""
        ...


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the CPU, gathered from all processes where it is sharded: all must call this alike."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().contiguous()


def whole_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Everything that is saved of a model, gathered as :func:`whole` does."""
    return {name: whole(tensor) for name, tensor in saved_weights(model).items()}


def like(tensor: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    """A whole tensor, placed and sharded as the pattern is; 0-dim ones stay whole."""
    if not isinstance(pattern, DTensor) or tensor.ndim == 0:
        return tensor.to(pattern.device)
    return distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements)


class Alone:
    """One process."""

    rank = 0
    world = 1

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def shares(self, examples: Sequence[Example]) -> list[Sequence[Example]]:
        """All of them."""
        return [examples]

    @contextmanager
    def gradients_kept(self, wrapped: nn.Module, *, last: bool) -> Iterator[None]:
        """Nothing to exchange."""
        del wrapped, last
        yield

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> float:
        """Scale all gradients down to a norm. Returns the norm before."""
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm).item()

    def sum(self, values: Sequence[float]) -> list[float]:
        """The values."""
        return list(values)


class Together:
    """The processes that torchrun started; the process group is up."""

    def __init__(self, sharding: Sharding, *, device: torch.device) -> None:
        self.rank = dist.get_rank()
        self.world = dist.get_world_size()
        self._sharding = sharding
        self._device = device

    def wrap(self, model: nn.Module) -> nn.Module:
        """DDP's wrapper, or the model itself with its weights sharded in place, block by block."""
        if self._sharding == "ddp":
            ids = [self._device.index] if self._device.type == "cuda" else None
            return DistributedDataParallel(model, device_ids=ids)
        mesh = init_device_mesh(self._device.type, (self.world,))
        for stack in [each for each in model.modules() if isinstance(each, nn.ModuleList)]:
            for block in stack:
                fully_shard(block, mesh=mesh)
        # What is left, embeddings and head, is whole while the root's forward runs: the loss needs the head.
        fully_shard(model, mesh=mesh)
        return model

    def shares(self, examples: Sequence[Example]) -> list[Sequence[Example]]:
        """Every world-th row: rows of a batch are of like length, so the work is about equal."""
        return [examples[rank :: self.world] for rank in range(self.world)]

    @contextmanager
    def gradients_kept(self, wrapped: nn.Module, *, last: bool) -> Iterator[None]:
        """Gradients are exchanged with the last part only."""
        if isinstance(wrapped, DistributedDataParallel):
            if last:
                yield
            else:
                with wrapped.no_sync():
                    yield
        else:
            wrapped.set_requires_gradient_sync(last)  # type: ignore[operator]
            yield

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> float:
        """Scale all gradients down to a norm. Returns the norm before, of all shards together."""
        return whole(torch.nn.utils.clip_grad_norm_(parameters, max_norm)).item()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Every value, added up over all processes."""
        totals = torch.tensor(values, dtype=torch.float64, device=self._device)
        dist.all_reduce(totals)
        return [float(total) for total in totals]


@contextmanager
def process_group(sharding: Sharding, *, device: torch.device) -> Iterator[Ranks]:
    """The processes that torchrun started, as its environment variables describe them; one without them."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Alone()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Together(sharding, device=device)
    finally:
        dist.destroy_process_group()
