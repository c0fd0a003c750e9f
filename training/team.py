"""Node 0's side of a job on several devices: trains one arm after the other with the ranks of all nodes.

The first rank of each training runs on this node and does what the arm's only process does on one device; the nodes
beyond (:mod:`training.follower`) are told of each training over the rendezvous. Whatever fails, anywhere, ends the
training within a bound: ranks that wait for one that is gone are killed, not waited for.
"""

import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import replace
from typing import Final

from deploy.contract.exit_codes import ExitCode
from training.arm import ArmDone
from training.arm import ArmEvent
from training.arm import ArmOrder
from training.arms import STOP_GRACE_S
from training.arms import usable_cores
from training.errors import Interrupted
from training.errors import JobError
from training.errors import PlatformFault
from training.errors import Superseded
from training.failure import describe
from training.gang import Gang
from training.gang import RankFault
from training.gang import error_of
from training.gang import first_cause
from training.gang import threads_of_each
from training.member import MemberOrder
from training.member import MemberWork
from training.placement import Placement
from training.rank import Seat
from training.rank import Work
from training.rendezvous import Fields
from training.rendezvous import Host

HEAR_S: Final = 0.2
SETTLE_S: Final = 5.0
"""How long the other ranks may name the cause, after one has said that another is gone or has died without a word."""


def order_key(number: int) -> str:
    """Where a training is announced."""
    return f"order/{number}"


def over_key(number: int) -> str:
    """Says that node 0 is done with a training, however it went."""
    return f"order/{number}/over"


def fault_key(number: int, node: int) -> str:
    """Why the ranks of a node failed."""
    return f"order/{number}/fault/{node}"


def seats(placement: Placement, number: int, *, host: str, port: int, prefix: str) -> list[Seat]:
    """Of a node's ranks in a training."""
    return [
        Seat(
            rank=rank,
            world=placement.world,
            local_rank=rank - placement.ranks(placement.node).start,
            local_world=placement.devices,
            node=placement.node,
            host=host,
            port=port,
            prefix=f"{prefix}/ranks/{number}",
            sharding=placement.sharding,
        )
        for rank in placement.ranks(placement.node)
    ]


def member_order(number: int, order: ArmOrder) -> MemberOrder:
    """What the other ranks need to know of an arm."""
    return MemberOrder(
        number=number,
        name=order.name,
        loss=order.loss,
        plan=order.spec.training,
        prompts=() if order.curve_tasks is None or not order.curve_tasks.prompts else order.curve_tasks.asked,
        max_new_tokens=order.spec.probing.max_new_tokens,
    )


class Team:
    """All nodes of a job, as node 0 sees them."""

    def __init__(self, placement: Placement, *, prefix: str, stop_asked: Callable[[], bool]) -> None:
        """Open the rendezvous.

        Raises:
            PlatformFault: its port is taken.
        """
        self._placement = placement
        self._host = Host(placement, prefix=prefix)
        self._asked = stop_asked
        self._number = 0
        self._is_over = False

    def stop_asked(self) -> bool:
        """Whether this node, or another one that is still needed, was told to stop."""
        return self._asked() or (not self._is_over and self._host.stop_asked())

    def train(
        self,
        orders: Sequence[ArmOrder],
        *,
        on_event: Callable[[ArmEvent], None],
        stop_asked: Callable[[], bool],
    ) -> list[ArmDone]:
        """As :func:`training.arms.train_arms`, one arm after the other, each on all devices."""
        if self._placement.nodes > 1 and self._number == 0:
            said = f"waiting for {self._placement.nodes} nodes to come to the rendezvous"
            on_event(ArmEvent(message=said, data={"nodes": self._placement.nodes}))
        self._host.wait_for_nodes(stop_asked)
        return [self._train(order, on_event, stop_asked) for order in orders]

    def _train(
        self, order: ArmOrder, on_event: Callable[[ArmEvent], None], stop_asked: Callable[[], bool]
    ) -> ArmDone:
        self._number += 1
        told = member_order(self._number, order)
        gang = Gang(self._placed(order, told))
        try:
            self._host.board.put(order_key(self._number), told.model_dump(mode="json"))
            return self._see_through(gang, on_event, stop_asked)
        finally:
            gang.kill()
            with suppress(PlatformFault):
                self._host.board.put(over_key(self._number), {})

    def _placed(self, order: ArmOrder, told: MemberOrder) -> list[tuple[Seat, Work]]:
        threads = threads_of_each(self._placement.devices, usable_cores())
        first: Work = replace(order, threads=threads)
        other: Work = MemberWork(order=told, base_dir=order.base_dir, threads=threads)
        host = self._host
        placed = seats(self._placement, told.number, host=host.address, port=host.port, prefix=host.prefix)
        return [(seat, first if seat.rank == 0 else other) for seat in placed]

    def _see_through(
        self, gang: Gang, on_event: Callable[[ArmEvent], None], stop_asked: Callable[[], bool]
    ) -> ArmDone:
        stop_by: float | None = None
        while gang.is_running:
            gang.hear(on_event, timeout_s=HEAR_S)
            if stop_by is None and stop_asked():
                gang.stop()
                stop_by = time.monotonic() + STOP_GRACE_S
            faults = self._faults(gang)
            if faults:
                raise self._cause(gang, faults, on_event, stopping=stop_by is not None)
            if stop_by is not None and time.monotonic() > stop_by:
                raise Interrupted
            if stop_by is None:
                self._host.check()
        if gang.faults:
            raise self._cause(gang, gang.faults, on_event, stopping=stop_by is not None)
        if gang.done is None:
            raise AssertionError("the first rank ends with a fault or with its arm")
        return gang.done

    def _faults(self, gang: Gang) -> list[RankFault]:
        """Of all ranks that have failed so far."""
        board, number = self._host.board, self._number
        told = [board.look(fault_key(number, node)) for node in range(1, self._placement.nodes)]
        elsewhere = self._host.fault()
        faults = [*gang.faults, *(RankFault.of(fields) for fields in told if fields is not None)]
        if elsewhere is not None:
            node, fields = elsewhere
            rank = self._placement.ranks(node).start
            faults.append(RankFault(rank=rank, node=node, error=error_of(fields)))
        return faults

    def _cause(
        self, gang: Gang, faults: list[RankFault], on_event: Callable[[ArmEvent], None], *, stopping: bool
    ) -> JobError:
        """The error to end with. Waits for the other ranks' word where what is known is only a consequence."""
        settled_by = time.monotonic() + (STOP_GRACE_S if _only_interrupted(faults) else SETTLE_S)
        while not any(fault.is_cause for fault in faults) and time.monotonic() < settled_by:
            if not gang.is_running and len({fault.node for fault in faults}) == self._placement.nodes:
                break
            gang.hear(on_event, timeout_s=HEAR_S)
            faults = self._faults(gang)
        cause = first_cause(faults)
        # What a rank dies of while all are being stopped is the stop.
        asked = stopping or self.stop_asked() or any(isinstance(each.error, Interrupted) for each in faults)
        if asked and not cause.is_cause:
            return Interrupted()
        error = cause.raised()
        quiet = self._host.quiet_nodes()
        if cause.is_cause or not quiet:
            return error
        names = " and ".join(f"node {node}" for node in quiet)
        return PlatformFault(error.exit_code, "node_lost", f"{names} is gone; {error.message}")

    def release(self) -> None:
        """Let the other nodes go: no more is trained."""
        self._end({"exit_code": int(ExitCode.OK)})

    def fail(self, error: JobError) -> None:
        """Tell the other nodes why the job ends."""
        self._end({"exit_code": int(error.exit_code), "code": error.code, "message": error.message})

    def supersede(self) -> None:
        """Tell the other nodes that the job has its result."""
        self._end({"exit_code": int(ExitCode.SUPERSEDED)})

    def _end(self, how: Fields) -> None:
        if not self._is_over:
            self._is_over = True
            self._host.end(how)


def _only_interrupted(faults: Sequence[RankFault]) -> bool:
    return all(isinstance(fault.error, Interrupted) for fault in faults)


@contextmanager
def leading(placement: Placement, *, prefix: str, stop_asked: Callable[[], bool]) -> Iterator[Team]:
    """A team for as long as a job runs; however it ends, the other nodes hear of it.

    Raises:
        PlatformFault: the rendezvous cannot be opened.
    """
    team = Team(placement, prefix=prefix, stop_asked=stop_asked)
    try:
        yield team
    except Superseded:
        team.supersede()
        raise
    except Exception as error:
        team.fail(describe(error))
        raise
    team.release()
