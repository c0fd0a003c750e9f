"""The ranks of one node in one training: starts them, hears them, ends them, and knows which fault was the cause."""

import multiprocessing
import os
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait
from typing import Any
from typing import Final

import torch

from deploy.contract.exit_codes import ExitCode
from deploy.contract.exit_codes import is_users
from training.arm import ArmDone
from training.arm import ArmEvent
from training.errors import Interrupted
from training.errors import InvalidInput
from training.errors import JobError
from training.errors import PlatformFault
from training.rank import PEER_LOST
from training.rank import Seat
from training.rank import Work
from training.rank import run_rank

RANK_DIED: Final = "rank_died"
KILL_S: Final = 10.0
"""How long a killed process may take to be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFault:
    """Why a rank ended without having done its work."""

    rank: int
    node: int
    error: JobError

    @property
    def weight(self) -> int:
        """How likely it is the cause: a fault of its own, a death, the loss of another rank, an order to stop."""
        if isinstance(self.error, Interrupted):
            return 3
        return {RANK_DIED: 1, PEER_LOST: 2}.get(self.error.code, 0)

    @property
    def is_cause(self) -> bool:
        """Whether nothing that other ranks will still say can explain it better."""
        return self.weight == 0

    def fields(self) -> dict[str, Any]:
        """For another node."""
        error = self.error
        return {
            "rank": self.rank,
            "node": self.node,
            "exit_code": int(error.exit_code),
            "code": error.code,
            "message": error.message,
            "param": error.param,
        }

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "RankFault":
        """What another node told by :meth:`fields`."""
        return cls(rank=fields["rank"], node=fields["node"], error=error_of(fields))

    def raised(self) -> JobError:
        """The error, with the rank that it is of."""
        if isinstance(self.error, Interrupted):
            return self.error
        kind = type(self.error)
        said = f"{self.error.message} (rank {self.rank} on node {self.node})"
        return kind(self.error.exit_code, self.error.code, said, param=self.error.param)


def error_of(fields: Mapping[str, Any]) -> JobError:
    """The error that another node described."""
    code = ExitCode(fields["exit_code"])
    if code == ExitCode.INTERRUPTED:
        return Interrupted()
    kind = InvalidInput if is_users(code) else PlatformFault
    return kind(code, fields["code"], fields["message"], param=fields["param"])


def first_cause(faults: Iterable[RankFault]) -> RankFault:
    """The most likely cause among faults in the order in which they came; there is at least one."""
    return min(faults, key=lambda fault: fault.weight)


class _Rank:
    def __init__(self, seat: Seat, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        self.seat = seat
        self.pipe: Connection = receiver
        self.process = context.Process(target=run_rank, args=(seat, work, sender), name=f"rank-{seat.rank}")
        self.process.start()
        sender.close()


class Gang:
    """The ranks of this node."""

    def __init__(self, placed: Iterable[tuple[Seat, Work]]) -> None:
        self._running: list[_Rank] = []
        self.done: ArmDone | None = None
        """Of the first rank, when it has ended well."""
        self.faults: list[RankFault] = []
        """In the order in which they came."""
        self._told_to_stop = False
        try:
            for seat, work in placed:
                self._running.append(_Rank(seat, work))
        except BaseException:
            self.kill()
            raise

    @property
    def is_running(self) -> bool:
        """Whether some rank has not ended."""
        return bool(self._running)

    def hear(self, on_event: Callable[[ArmEvent], None], *, timeout_s: float) -> None:
        """Take what the ranks say, waiting for something to be said at most ``timeout_s``."""
        ready = wait([rank.pipe for rank in self._running], timeout=timeout_s)
        for rank in [each for each in self._running if each.pipe in ready]:
            self._receive(rank, on_event)

    def _receive(self, rank: _Rank, on_event: Callable[[ArmEvent], None]) -> None:
        try:
            said = rank.pipe.recv()
        except (EOFError, OSError):
            self._end(rank, _death(rank))
            return
        if isinstance(said, ArmEvent):
            on_event(said)
            return
        if isinstance(said, ArmDone):
            self.done = said
        self._end(rank, said if isinstance(said, JobError) else None)

    def _end(self, rank: _Rank, error: JobError | None) -> None:
        self._running.remove(rank)
        rank.pipe.close()
        if error is not None:
            self.faults.append(RankFault(rank=rank.seat.rank, node=rank.seat.node, error=error))
            return
        rank.process.join(KILL_S)
        if rank.process.is_alive():
            rank.process.kill()

    def stop(self) -> None:
        """Ask the ranks to write a checkpoint and end; once is enough."""
        if not self._told_to_stop:
            self._told_to_stop = True
            for rank in self._running:
                rank.process.terminate()

    def kill(self) -> None:
        """End whatever still runs."""
        for rank in self._running:
            rank.process.kill()
        deadline = time.monotonic() + KILL_S
        for rank in self._running:
            rank.process.join(max(0.0, deadline - time.monotonic()))
            rank.pipe.close()
        self._running.clear()


def _death(rank: _Rank) -> JobError:
    rank.process.join(KILL_S)
    said = (
        f"its process ended with status {rank.process.exitcode} without a word "
        "(-9 is usually the kernel's out-of-memory killer)"
    )
    return PlatformFault(ExitCode.PLATFORM, RANK_DIED, said)


def threads_of_each(ranks: int, cores: int) -> int | None:
    """CPU threads of each of a node's ranks; None leaves torch's own choice, beside a GPU or where the launcher made it."""
    if torch.cuda.is_available() or os.environ.get("OMP_NUM_THREADS"):
        return None
    return max(1, cores // ranks)
