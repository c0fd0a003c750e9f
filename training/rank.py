"""One rank of a training on several devices: a process of its own, started by its node, at home in a process group.

What torchrun's agent would tell it through its environment it is told as a :class:`Seat`. The agent itself is not
used: it knows restarts, which are the launcher's here, and neither a job's errors and exit codes, nor which rank failed
first, nor how to end the other nodes' ranks at once when one is gone.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection

import torch
import torch.distributed as dist

from deploy.contract.exit_codes import ExitCode
from training.arm import ArmDone
from training.arm import ArmEvent
from training.arm import ArmOrder
from training.arm import train_arm
from training.errors import JobError
from training.errors import PlatformFault
from training.failure import describe
from training.member import MemberWork
from training.member import train_member
from training.model import pick_device
from training.parallel import PATIENCE
from training.parallel import Together
from training.parallel import backend_for
from training.placement import WantedSharding
from training.rendezvous import connect
from training.sharding import ShardingChoice
from training.sharding import choose_sharding
from training.sharding import device_bytes

PEER_LOST = "peer_lost"
_BACKENDS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")
"""What the text of a fault between ranks names, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a rank sits."""

    rank: int
    """Over all nodes, from 0."""
    world: int
    local_rank: int
    local_world: int
    node: int
    host: str
    port: int
    prefix: str
    """Of this training's keys in the store: no two trainings meet."""
    sharding: WantedSharding


Work = ArmOrder | MemberWork


def run_rank(seat: Seat, work: Work, pipe: Connection) -> None:
    """Entry point of a rank's process: the first sends ArmEvents and one ArmDone, the others a None; or a JobError."""
    _end_with_parent()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["LOCAL_RANK"] = str(seat.local_rank)
    # The job decides when to stop; a Ctrl-C of a terminal reaches it and us alike.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        outcome: ArmDone | JobError | None = _work(seat, work, pipe)
    except Exception as error:
        outcome = describe_fault(error)
    try:
        pipe.send(outcome)
        pipe.close()
    except BrokenPipeError:
        pass
    if isinstance(outcome, JobError):
        # Leaving the group in good order would wait for ranks that may be gone.
        os._exit(int(outcome.exit_code))
    dist.destroy_process_group()


def _work(seat: Seat, work: Work, pipe: Connection) -> ArmDone | None:
    with _group(seat) as ranks:
        plan = work.spec.training if isinstance(work, ArmOrder) else work.order.plan
        choice = choose_sharding(
            work.base_dir,
            plan,
            ranks,
            wanted=seat.sharding,
            here_bytes=device_bytes(ranks.device, local_ranks=seat.local_world),
        )
        shared = Together(choice.sharding, device=ranks.device)
        if isinstance(work, MemberWork):
            train_member(work, shared)
            return None
        pipe.send(_choice_event(work, seat, choice))
        return train_arm(work, pipe, shared)


def _choice_event(order: ArmOrder, seat: Seat, choice: ShardingChoice) -> ArmEvent:
    return ArmEvent(
        message=f"{order.arm}: {seat.world} ranks on {seat.world // seat.local_world} nodes; {choice.said}",
        data={
            "arm": order.name,
            "ranks": seat.world,
            "sharding": choice.sharding,
            "ddp_bytes": choice.ddp_bytes,
            "fsdp_bytes": choice.fsdp_bytes,
            "device_bytes": choice.device_bytes,
        },
    )


@contextmanager
def _group(seat: Seat) -> Iterator[Together]:
    if torch.cuda.is_available() and seat.local_world > torch.cuda.device_count():
        raise PlatformFault(
            ExitCode.PLATFORM,
            "invalid_placement",
            f"TEMPER_GPUS asks for {seat.local_world} devices, this node has {torch.cuda.device_count()}",
        )
    device = pick_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend_for(device),
        store=connect(seat.host, seat.port, prefix=seat.prefix),
        rank=seat.rank,
        world_size=seat.world,
        timeout=PATIENCE,
    )
    yield Together("ddp", device=device)


def describe_fault(error: Exception) -> JobError:
    """The JobError of an exception. One that only says that another rank is gone is called so: it is not the cause."""
    said = str(error).lower()
    of_network = isinstance(error, RuntimeError) and any(name in said for name in _BACKENDS)
    if isinstance(error, dist.DistError) or (of_network and not isinstance(error, torch.OutOfMemoryError)):
        first = str(error).strip().partition("\n")[0]
        return PlatformFault(ExitCode.PLATFORM, PEER_LOST, f"another rank is gone: {first}"[:1000])
    return describe(error)


def _end_with_parent() -> None:
    """End this process when the one that started it does, however: a rank that waits for its peers hears no signal."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(int(ExitCode.PLATFORM))

    threading.Thread(target=watch, name="parent", daemon=True).start()
