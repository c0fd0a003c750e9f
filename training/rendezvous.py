"""Where the nodes of a job meet: one key-value store that node 0 keeps for as long as the job runs.

It is torch's own (c10d) TCPStore, the one that torchrun's rendezvous is made of. Every arm's process group meets in it
under a prefix of its own, so one port is enough; beside that it carries what nodes tell each other: that they
came, that they are alive, which training is next, why one failed, how it all ended. All of that is JSON.

Covers: a node that never comes, dies, hangs or starts twice; each ends the job within a bound. Does not cover: who
may connect. Nothing authenticates a peer, so the port is for the pods of one job alone (a NetworkPolicy's work).
"""

import datetime
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from typing import Final

from torch.distributed import DistError
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed import Store  # type: ignore[attr-defined]
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from deploy.contract.exit_codes import ExitCode
from training.errors import Interrupted
from training.errors import PlatformFault
from training.placement import Placement

BEAT_S: Final = 1.0
"""Between two signs of life of a node."""
QUIET_BEATS: Final = 4
POLL_S: Final = 0.2
ASK_RESULT_S: Final = 5.0
"""Between two looks of a waiting node whether the job is over already."""
CALL_S: Final = 30.0
"""Longest that one call on the store may take."""
END_S: Final = 15.0
"""How long node 0 waits at its end for the others to have heard of it."""

Fields = dict[str, Any]


class Board:
    """The store from one process's side. Every call on it is short; faults of the network are :class:`PlatformFault`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, key: str, fields: Mapping[str, Any]) -> None:
        """Write, overwriting."""
        self._call(lambda: self._store.set(key, json.dumps(fields)))

    def look(self, key: str) -> Fields | None:
        """What is there, or None."""
        if not self._call(lambda: self._store.check([key])):
            return None
        read: Fields = json.loads(self._call(lambda: self._store.get(key)))
        return read

    def count(self, key: str, amount: int = 1) -> int:
        """Add to a counter. Returns what it is then."""
        return int(self._call(lambda: self._store.add(key, amount)))

    def _call(self, operation: Callable[[], Any]) -> Any:
        try:
            return operation()
        except DistError as error:
            raise _lost("node 0 cannot be reached at the rendezvous", error) from error


def _lost(said: str, error: Exception) -> PlatformFault:
    first = str(error).strip().partition("\n")[0]
    return PlatformFault(ExitCode.PLATFORM, "node_lost", f"{said}: {first}"[:1000])


def connect(host: str, port: int, *, prefix: str) -> Store:
    """A connection to the store, for one thread or for a process group.

    Raises:
        PlatformFault: nobody is there any more.
    """
    try:
        store = TCPStore(
            host, port, is_master=False, timeout=datetime.timedelta(seconds=CALL_S), wait_for_workers=False
        )
    except DistError as error:
        raise _lost(f"nobody answers at the rendezvous {host}:{port}", error) from error
    connected: Store = PrefixStore(prefix, store)
    return connected


class Pulse:
    """A thread that shows that this node is alive and notes when it heard of the others. Over with its process."""

    def __init__(self, board: Board, placement: Placement, *, heard: range) -> None:
        self._board = board
        self._node = placement.node
        self._silence_s = placement.silence_s
        now = time.monotonic()
        self._last = {node: (0, now) for node in heard}
        self._beaten = now
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def silent_for(self) -> dict[int, float]:
        """Seconds since each node was heard, of those that have been silent for too long.

        A node that cannot beat itself cannot hear either, so its own silence counts as that of all others.
        """
        now = time.monotonic()
        if now - self._beaten > self._silence_s:
            return {node: now - self._beaten for node in self._last}
        return {node: now - at for node, (_, at) in self._last.items() if now - at > self._silence_s}

    def quiet(self, seconds: float) -> list[int]:
        """Nodes that were not heard for so long."""
        now = time.monotonic()
        return [node for node, (_, at) in self._last.items() if now - at > seconds]

    def close(self) -> None:
        """Show no more signs of life."""
        self._ended.set()
        self._thread.join(CALL_S)

    def _run(self) -> None:
        with suppress(PlatformFault):  # the store is gone: silence says so
            while not self._ended.wait(BEAT_S):
                self._board.count(f"beat/{self._node}")
                self._beaten = time.monotonic()
                for node, (seen, _) in self._last.items():
                    beats = self._board.count(f"beat/{node}", 0)
                    if beats != seen:
                        self._last[node] = (beats, time.monotonic())


def _listen(placement: Placement) -> socket.socket:
    """Node 0's port: of the loopback where that is the address, else of every interface of the pod."""
    if placement.host in {"127.0.0.1", "localhost", "::1"}:
        return socket.create_server((placement.host, placement.port))
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", placement.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
        )
    return socket.create_server(("", placement.port), backlog=1024)


class Host:
    """Node 0's side: keeps the store."""

    def __init__(self, placement: Placement, *, prefix: str) -> None:
        """Open the store.

        Raises:
            PlatformFault: the port is taken.
        """
        self._placement = placement
        self.prefix = prefix
        try:
            listener = _listen(placement)
        except OSError as error:
            said = f"node 0 cannot listen on port {placement.port} of the rendezvous: {error}"
            raise PlatformFault(ExitCode.PLATFORM, "rendezvous_failed", said) from error
        self.port: int = listener.getsockname()[1]
        self.address = "::1" if placement.host == "::1" else "127.0.0.1"
        self._server = TCPStore(
            self.address,
            self.port,
            is_master=True,
            timeout=datetime.timedelta(seconds=CALL_S),
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
        self.board = Board(PrefixStore(prefix, self._server))
        self._followers = range(1, placement.nodes)
        self._pulse = Pulse(self._own_board(), placement, heard=self._followers)
        self._opened_at = time.monotonic()

    def _own_board(self) -> Board:
        return Board(connect(self.address, self.port, prefix=self.prefix))

    def wait_for_nodes(self, stop_asked: Callable[[], bool]) -> None:
        """Until every node has come.

        Raises:
            PlatformFault: some did not come in time; the message names them.
            Interrupted: told to stop.
        """
        while missing := [node for node in self._followers if not self.board.count(f"joined/{node}", 0)]:
            if stop_asked():
                raise Interrupted
            if time.monotonic() - self._opened_at > self._placement.join_s:
                raise PlatformFault(
                    ExitCode.PLATFORM, "node_missing", _missing_said(missing, self._placement, self.port)
                )
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raises PlatformFault when a node that had come is gone, or was started again."""
        for node in self._followers:
            starts = self.board.count(f"joined/{node}", 0)
            if starts > 1:
                said = f"node {node} was started again in the middle of the job"
                raise PlatformFault(ExitCode.PLATFORM, "node_lost", said)
        joined = [node for node in self._followers if self.board.count(f"joined/{node}", 0)]
        silent = {node: quiet for node, quiet in self._pulse.silent_for().items() if node in joined}
        if silent:
            names = " and ".join(f"node {node}" for node in silent)
            said = f"{names} of {self._placement.nodes} is gone: not heard for {max(silent.values()):.0f} s"
            raise PlatformFault(ExitCode.PLATFORM, "node_lost", said)

    def quiet_nodes(self) -> list[int]:
        """Nodes that missed several beats: while a rank has just failed, probably why."""
        return self._pulse.quiet(QUIET_BEATS * BEAT_S)

    def stop_asked(self) -> bool:
        """Whether some node was told to stop."""
        return any(self.board.look(f"stop/{node}") is not None for node in self._followers)

    def fault(self) -> tuple[int, Fields] | None:
        """A node that failed outside of a training, and why."""
        for node in self._followers:
            told = self.board.look(f"fault/{node}")
            if told is not None:
                return node, told
        return None

    def end(self, how: Fields) -> None:
        """Tell every node how the job ended, and close once those that are alive have heard it."""
        with suppress(PlatformFault):
            self.board.put("end", how)
            deadline = time.monotonic() + END_S
            while time.monotonic() < deadline and self._waiting_for_end():
                time.sleep(POLL_S)
        self._pulse.close()

    def _waiting_for_end(self) -> bool:
        silent = self._pulse.silent_for()
        joined = [node for node in self._followers if self.board.count(f"joined/{node}", 0)]
        return any(node not in silent and self.board.look(f"ended/{node}") is None for node in joined)


def _missing_said(missing: list[int], placement: Placement, port: int) -> str:
    names = ", ".join(f"node {node}" for node in missing)
    return (
        f"{names} of {placement.nodes} did not come to the rendezvous {placement.host}:{port} within "
        f"{placement.join_s:.0f} s: its pod is not running, or the network policy keeps it out"
    )


class Guest:
    """The side of any other node."""

    def __init__(
        self,
        placement: Placement,
        *,
        prefix: str,
        stop_asked: Callable[[], bool],
        is_over: Callable[[], bool],
    ) -> None:
        """Come to the rendezvous.

        Args:
            placement: of this node.
            prefix: of this job's keys.
            stop_asked: whether to give up.
            is_over: whether the job has its result already; asked every few seconds.

        Raises:
            PlatformFault: node 0 does not answer in time, or this node was there before.
            Interrupted: told to stop, or the job is over.
        """
        self._node = placement.node
        self._wait(placement, stop_asked, is_over)
        self.board = Board(connect(placement.host, placement.port, prefix=prefix))
        starts = self.board.count(f"joined/{self._node}")
        if starts > 1:
            # Node 0 sees the counter and ends the job: what the first start had in memory is lost.
            said = f"node {self._node} was started again in the middle of the job"
            raise PlatformFault(ExitCode.PLATFORM, "node_lost", said)
        heart = Board(connect(placement.host, placement.port, prefix=prefix))
        self._pulse = Pulse(heart, placement, heard=range(1))
        self._patience_s = 2 * placement.silence_s
        self._parted = threading.Event()
        threading.Thread(target=self._guard, name="guard", daemon=True).start()

    def _guard(self) -> None:
        """End this process where nothing else can: a call on a store that hangs, behind a cut network, never returns."""
        while not self._parted.wait(BEAT_S):
            silence = max(self._pulse.silent_for().values(), default=0.0)
            if silence > self._patience_s:
                said = (
                    f"node_lost: node 0 is gone: not heard for {silence:.0f} s, and its store does not answer"
                )
                print(said, file=sys.stderr, flush=True)  # noqa: T201 - the job's log
                os._exit(int(ExitCode.PLATFORM))

    def _wait(
        self, placement: Placement, stop_asked: Callable[[], bool], is_over: Callable[[], bool]
    ) -> None:
        deadline = time.monotonic() + placement.join_s
        asked_at = time.monotonic()
        while not _answers(placement.host, placement.port):
            if stop_asked():
                raise Interrupted
            if time.monotonic() - asked_at >= ASK_RESULT_S:
                asked_at = time.monotonic()
                if is_over():
                    raise Interrupted
            if time.monotonic() > deadline:
                said = (
                    f"node 0 of {placement.nodes} does not answer at the rendezvous "
                    f"{placement.host}:{placement.port} since {placement.join_s:.0f} s: node {placement.node} gives up"
                )
                raise PlatformFault(ExitCode.PLATFORM, "node_missing", said)
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raises PlatformFault when node 0 is gone."""
        for quiet in self._pulse.silent_for().values():
            said = f"node 0 is gone: not heard for {quiet:.0f} s"
            raise PlatformFault(ExitCode.PLATFORM, "node_lost", said)

    def ask_stop(self) -> None:
        """Say that this node was told to stop."""
        self.board.put(f"stop/{self._node}", {})

    def tell_fault(self, fields: Fields) -> None:
        """Say why this node cannot go on."""
        self.board.put(f"fault/{self._node}", fields)

    def how_it_ended(self) -> Fields | None:
        """What node 0 said of the end of the job, or None while it goes on."""
        return self.board.look("end")

    def confirm_end(self) -> None:
        """Let node 0 go."""
        with suppress(PlatformFault):
            self.board.put(f"ended/{self._node}", {})
        self._parted.set()
        self._pulse.close()


def _answers(host: str, port: int) -> bool:
    # A name that is not known yet is no other thing than a pod that does not listen yet.
    with suppress(OSError), socket.create_connection((host, port), timeout=2.0):
        return True
    return False
