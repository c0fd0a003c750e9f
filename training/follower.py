"""A node beyond the first: fetches the base model and trains along, until node 0 says how the job ended.

It writes nothing to the store: events, checkpoints, weights and the result are node 0's.
"""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.contract import layout
from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import JobSpec
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
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
from training.inputs import fetch_base_model
from training.member import MemberOrder
from training.member import MemberWork
from training.placement import Placement
from training.process import Start
from training.rendezvous import POLL_S
from training.rendezvous import Fields
from training.rendezvous import Guest
from training.team import fault_key
from training.team import order_key
from training.team import over_key
from training.team import seats

LOCAL_SETTLE_S: Final = 2.0
"""How long the ranks of this node may name a better cause than the first one that failed."""
_NODE_0_KNOWS: Final = ("node_lost", "interrupted")
STOPPED_S: Final = 90.0
"""How long node 0 may take to end the job after this node has asked it to."""


@dataclass(slots=True, kw_only=True)
class Follower:
    """One start of one node."""

    spec: JobSpec
    prefix: str
    store: ObjectStore
    placement: Placement
    start: Start
    events: None = None
    """Node 0 has them."""
    stop_by: float | None = None

    @property
    def failure_key(self) -> str:
        """Nothing is ever written there."""
        return layout.failure_key(self.spec.job_id, self.spec.attempt, self.start.pod)

    def run(self) -> None:
        """Train along until node 0 says that the job is over.

        Raises:
            Superseded: the job has its result.
            JobError: with the exit code that node 0 ends with; PlatformFault when it is gone.
        """
        try:
            guest = Guest(
                self.placement, prefix=self.prefix, stop_asked=self.start.stop_asked, is_over=self._has_result
            )
            self._follow(guest)
        except PlatformFault:
            if self._has_result():
                # Node 0 committed, and was gone before it could say so.
                return
            raise

    def _has_result(self) -> bool:
        try:
            return self.store.info(layout.result_key(self.spec.job_id)) is not None
        except StoreError:
            return False

    def _follow(self, guest: Guest) -> None:
        try:
            base_dir = fetch_base_model(self.spec, self.start.scratch)
            number = 1
            while not self._is_over(guest):
                told = guest.board.look(order_key(number))
                if told is None:
                    time.sleep(POLL_S)
                    continue
                self._train(guest, MemberOrder.from_bytes(json.dumps(told).encode()), base_dir)
                number += 1
        except (JobError, StoreError, OSError) as error:
            described = describe(error)
            if described.code not in _NODE_0_KNOWS:
                fault = RankFault(rank=self._first_rank, node=self.placement.node, error=described)
                with suppress(PlatformFault):
                    guest.tell_fault(fault.fields())
            raise described from error

    @property
    def _first_rank(self) -> int:
        return self.placement.ranks(self.placement.node).start

    def _is_over(self, guest: Guest) -> bool:
        """Whether the job ended well; raises the error with which it ended otherwise."""
        ended = guest.how_it_ended()
        if ended is not None:
            guest.confirm_end()
            _raise_end(ended)
            return True
        guest.check()
        if self.stop_by is None and self.start.stop_asked():
            # Node 0 lets the ranks write a checkpoint and ends the job on all nodes.
            guest.ask_stop()
            self.stop_by = time.monotonic() + STOPPED_S
        if self.stop_by is not None and time.monotonic() > self.stop_by:
            raise Interrupted
        return False

    def _train(self, guest: Guest, order: MemberOrder, base_dir: Path) -> None:
        """See one training through; that it failed is told to node 0, which ends the job or goes on."""
        threads = threads_of_each(self.placement.devices, usable_cores())
        work = MemberWork(order=order, base_dir=base_dir, threads=threads)
        placed = seats(
            self.placement,
            order.number,
            host=self.placement.host,
            port=self.placement.port,
            prefix=self.prefix,
        )
        gang = Gang([(seat, work) for seat in placed])
        failed_at: float | None = None
        try:
            while guest.board.look(over_key(order.number)) is None and not self._is_over(guest):
                if gang.is_running:
                    gang.hear(lambda event: None, timeout_s=POLL_S)
                else:
                    time.sleep(POLL_S)
                if failed_at is None and gang.faults:
                    failed_at = time.monotonic()
                if failed_at is not None and self._settled(gang, failed_at):
                    fault = first_cause(gang.faults)
                    guest.board.put(fault_key(order.number, self.placement.node), fault.fields())
        finally:
            gang.kill()

    def _settled(self, gang: Gang, failed_at: float) -> bool:
        known = any(fault.is_cause for fault in gang.faults)
        return known or not gang.is_running or time.monotonic() - failed_at > LOCAL_SETTLE_S


def _raise_end(ended: Fields) -> None:
    match ExitCode(ended["exit_code"]):
        case ExitCode.OK:
            return
        case ExitCode.SUPERSEDED:
            raise Superseded
        case _:
            raise error_of({"param": None, **ended})
