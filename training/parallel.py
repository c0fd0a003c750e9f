"""Several processes that train one model: replicated (DDP) or sharded (FSDP2)."""

import datetime
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any
from typing import Final
from typing import Literal
from typing import Protocol
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.distributed.tensor import distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from deploy.contract.exit_codes import ExitCode
from training.data.example import Example
from training.errors import InvalidInput
from training.model import saved_weights

Sharding = Literal["ddp", "fsdp"]
Result = TypeVar("Result")

PATIENCE: Final = datetime.timedelta(hours=2)
"""How long processes wait for one another: while the first one evaluates or stores a checkpoint, the others do. A
process that is dead is found out sooner, by whoever started it."""
PIECE_BYTES: Final = 1 << 28
"""Most that is told at once."""


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

    @property
    def sharding(self) -> Sharding:
        """How they share the model."""
        ...

    def wrap(self, model: nn.Module, source: nn.Module | None = None) -> nn.Module:
        """The model with its gradients averaged over all processes.

        A model without weights (on the meta device) gets them from the first process, whose ``source`` has them
        on the CPU under the same names.
        """
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

    def tell(self, data: bytes) -> bytes:
        """What the first process gives, on every process."""
        ...

    def first(self, tensor: torch.Tensor) -> torch.Tensor:
        """The first process's tensor in the place of everybody's, which have its shape and type."""
        ...

    def evaluate(self, wrapped: nn.Module, measure: Callable[[], Result]) -> Result | None:
        """Run forwards of the model outside of training; all processes call this alike.

        Where the model is sharded all run ``measure``, and their forwards must be the same; else the first does.
        """
        ...


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the CPU, gathered from all processes where it is sharded: all must call this alike."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().contiguous()


def gathered(tensors: Iterable[tuple[str, torch.Tensor]], ranks: Ranks) -> dict[str, torch.Tensor]:
    """Whole tensors by name on the first process, nothing on the others. All must call this alike."""
    kept: dict[str, torch.Tensor] = {}
    for name, tensor in tensors:
        if ranks.rank == 0:
            kept[name] = whole(tensor)
        elif isinstance(tensor, DTensor):
            # The others take part in the gathering; what they get is dropped at once.
            tensor.full_tensor()
    return kept


def whole_weights(model: nn.Module, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Everything that is saved of a model, as :func:`gathered` gives it."""
    return gathered(saved_weights(model).items(), ranks)


def like(tensor: torch.Tensor, pattern: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """The first process's whole tensor, placed and sharded as the pattern is; 0-dim ones stay whole.

    The others give one of the same shape and type, whatever is in it. All must call this alike.
    """
    held = ranks.first(tensor.to(pattern.device))
    if not isinstance(pattern, DTensor) or tensor.ndim == 0:
        return held
    # Every process has all of it now and takes its own part.
    return distribute_tensor(held, pattern.device_mesh, pattern.placements, src_data_rank=None)


class Alone:
    """One process."""

    rank = 0
    world = 1
    sharding: Sharding = "ddp"

    def wrap(self, model: nn.Module, source: nn.Module | None = None) -> nn.Module:
        """The model itself."""
        del source
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

    def tell(self, data: bytes) -> bytes:
        """The data."""
        return data

    def first(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor."""
        return tensor

    def evaluate(self, wrapped: nn.Module, measure: Callable[[], Result]) -> Result | None:
        """What is measured."""
        del wrapped
        return measure()


class Together:
    """Several processes; the process group is up."""

    def __init__(self, sharding: Sharding, *, device: torch.device) -> None:
        self.rank = dist.get_rank()
        self.world = dist.get_world_size()
        self.sharding: Sharding = sharding
        self.device = device

    def wrap(self, model: nn.Module, source: nn.Module | None = None) -> nn.Module:
        """DDP's wrapper, or the model itself with its weights sharded in place, block by block."""
        if self.sharding == "ddp":
            ids = [self.device.index] if self.device.type == "cuda" else None
            # Gradients lie in the buckets that are exchanged: they are not held twice.
            return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
        mesh = init_device_mesh(self.device.type, (self.world,))
        filling = _Filling(model, source, device=self.device, ranks=self)
        for block in _blocks(model):
            filling.fill(block)
            fully_shard(block, mesh=mesh)
        # What is left, embeddings and head, is whole while the root's forward runs: the loss needs the head.
        filling.fill(model)
        fully_shard(model, mesh=mesh)
        register_fsdp_forward_method(model, "evaluate")
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
        totals = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(totals)
        return [float(total) for total in totals]

    def least(self, value: int) -> int:
        """The smallest that any process gives."""
        least = torch.tensor([value], dtype=torch.int64, device=self.device)
        dist.all_reduce(least, dist.ReduceOp.MIN)
        return int(least)

    def tell(self, data: bytes) -> bytes:
        """What the first process gives, on every process."""
        size = self.first(torch.tensor([len(data)], dtype=torch.int64, device=self.device))
        told = torch.empty(int(size), dtype=torch.uint8)
        if self.rank == 0 and data:
            told.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        for start in range(0, int(size), PIECE_BYTES):
            piece = self.first(told[start : start + PIECE_BYTES].to(self.device))
            told[start : start + PIECE_BYTES] = piece.cpu()
        return told.numpy().tobytes()

    def first(self, tensor: torch.Tensor) -> torch.Tensor:
        """The first process's tensor in the place of everybody's, which have its shape and type."""
        dist.broadcast(tensor, 0)
        return tensor

    def evaluate(self, wrapped: nn.Module, measure: Callable[[], Result]) -> Result | None:
        """What is measured: sharded by all alike, else by the first process while the others go on and wait."""
        if self.sharding == "ddp":
            return measure() if self.rank == 0 else None
        result: Result = wrapped.evaluate(measure)  # type: ignore[operator]
        # Nothing was to be differentiated, so nobody else puts the root's weights back into shards.
        wrapped.reshard()  # type: ignore[operator]
        return result


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The layers of the outermost stacks; what a layer has of lists inside belongs to it."""
    stacks = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.ModuleList)]
    outermost = [
        stack for name, stack in stacks if not any(name.startswith(f"{other}.") for other, _ in stacks)
    ]
    return [block for stack in outermost for block in stack]


class _Filling:
    """Gives a model without weights those of the first process's source, part by part: no process ever holds all."""

    def __init__(
        self, model: nn.Module, source: nn.Module | None, *, device: torch.device, ranks: Together
    ) -> None:
        self._names = {module: name for name, module in model.named_modules()}
        self._source = source
        self._device = device
        self._ranks = ranks

    def fill(self, part: nn.Module) -> None:
        """Fill what is empty of a part; all processes go through it in the same order."""
        # By what stood in its place: a weight that two modules share stays shared.
        filled: dict[torch.Tensor, torch.Tensor] = {}
        for module in part.modules():
            for kind in ("_parameters", "_buffers"):
                held: dict[str, torch.Tensor | None] = getattr(module, kind)
                for name, tensor in held.items():
                    if tensor is not None and tensor.is_meta:
                        if tensor not in filled:
                            filled[tensor] = self._from_first(module, kind, name, tensor)
                        held[name] = filled[tensor]

    def _from_first(self, module: nn.Module, kind: str, name: str, empty: torch.Tensor) -> torch.Tensor:
        if self._source is None:
            tensor = torch.empty_like(empty, device=self._device)
        else:
            owner = self._source.get_submodule(self._names[module])
            found = getattr(owner, kind)[name]
            if (found.dtype, found.shape) != (empty.dtype, empty.shape):
                # The other processes make room for what the configuration says.
                raise InvalidInput(
                    ExitCode.UNSUPPORTED,
                    "model_unsupported",
                    f"this model cannot be sharded: {self._names[module]}.{name} is {found.dtype} "
                    f"{tuple(found.shape)} in its files and {empty.dtype} {tuple(empty.shape)} by its configuration",
                    param="model",
                )
            tensor = found.detach().to(self._device, copy=True)
        tensor = self._ranks.first(tensor.contiguous())
        if not isinstance(empty, nn.Parameter):
            return tensor
        return nn.Parameter(tensor, requires_grad=empty.requires_grad)


@contextmanager
def process_group(sharding: Sharding, *, device: torch.device) -> Iterator[Ranks]:
    """The processes that torchrun started, as its environment variables describe them; one without them."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Alone()
        return
    dist.init_process_group(backend_for(device), timeout=PATIENCE)
    try:
        yield Together(sharding, device=device)
    finally:
        dist.destroy_process_group()


def backend_for(device: torch.device) -> str:
    """What exchanges tensors of a device."""
    return "nccl" if device.type == "cuda" else "gloo"
