"""One child process from start to end: ``python -m deploy.process.supervisor DIRECTORY``.

Standard library only, so that it starts in some 50 ms and stays small beside what it guards.

Standard input is the lifeline. Its first line is the child's whole environment as a JSON object (so that
credentials touch no disk); every further line is an order to stop (``{"grace_s": 5.0, "cause": "stopped"}``);
its end means that the service is gone, however it went.

Covers: a service that is killed, a child that ignores SIGTERM, stops or forks, a child's children that leave
its session, a deadline, the supervisor's own SIGTERM. When the supervisor itself is killed, Linux kills the
child with it; what the child had started is swept by the next look at the table.
Does not cover: processes in uninterruptible sleep, a child that becomes another user, a log that fills the disk.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from typing import Final

from deploy.process import record
from deploy.process import session

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
SWEEP_S: Final = 10.0
"""SIGKILL takes effect at once, but for a process in uninterruptible sleep: no reason to wait for ever."""
CANNOT_EXECUTE: Final = 127
LIFELINE: Final = 0


class Lifeline:
    """Reads the pipe from the service, line by line."""

    def __init__(self) -> None:
        self.open = True
        self._buffer = b""

    def first_line(self) -> bytes | None:
        """Block for the first line; None when the service went away before it was complete."""
        while b"\n" not in self._buffer:
            if not self.fill():
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def take_lines(self) -> list[bytes]:
        """Complete lines that have been read: one may have come together with the first."""
        *lines, self._buffer = self._buffer.split(b"\n")
        return lines

    def fill(self) -> bool:
        """Read what has arrived, blocking for it; False at the end."""
        data = os.read(LIFELINE, 65536)
        self._buffer += data
        self.open = bool(data)
        return self.open


class Supervisor:
    """Starts the child, waits for the first of its end, an order, the deadline or the service's end."""

    def __init__(self, directory: Path, lifeline: Lifeline) -> None:
        order = record.read_record(directory / record.ORDER)
        if order is None:
            raise SystemExit(f"{directory / record.ORDER} cannot be read")
        self._directory = directory
        self._lifeline = lifeline
        self._argv: list[str] = order["argv"]
        self._cwd: str | None = order["cwd"]
        self._token: str = order["token"]
        self._grace_s: float = order["grace_s"]
        self._deadline = time.monotonic() + order["deadline_s"] if order["deadline_s"] is not None else None
        self._wakeup = _wake_on_signals(self._on_signal)
        self._terminated = False
        self._cause: str | None = None
        self._kill_at: float | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._status: int | None = None

    def run(self, environment: dict[str, str]) -> None:
        """Run the child to its end and write down how it ended."""
        try:
            self._start(environment)
        except OSError as error:
            print(f"cannot start {self._argv[0]}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the log
            self._finish(CANNOT_EXECUTE)
            return
        self._obey()
        while self._status is None:
            self._wait()
            self._reap()
            self._enforce()
        code = os.waitstatus_to_exitcode(self._status)
        self._finish(code if code >= 0 else 128 - code)

    def _start(self, environment: dict[str, str]) -> None:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._child = subprocess.Popen(  # noqa: S603 - the order is the service's own
            self._argv,
            cwd=self._cwd,
            env={**environment, session.TOKEN_VARIABLE: self._token},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_death_with(os.getpid()),  # noqa: PLW1509 - this process has one thread
        )
        own, child = session.read_stat(os.getpid()), session.read_stat(self._child.pid)
        record.write_record(
            self._directory / record.STATE,
            {
                "boot_id": session.boot_id(),
                "supervisor_pid": os.getpid(),
                "supervisor_started": own.started if own else None,
                "child_pid": self._child.pid,
                "child_started": child.started if child else None,
                "session": self._child.pid,
            },
        )

    def _wait(self) -> None:
        """Sleep until there is something to do."""
        limits = [limit for limit in (self._deadline, self._kill_at) if limit is not None]
        timeout = max(0.0, min(limits) - time.monotonic()) if limits else None
        sources = [self._wakeup, *([LIFELINE] if self._lifeline.open else [])]
        ready = select.select(sources, [], [], timeout)[0]
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        if LIFELINE in ready:
            self._lifeline.fill()
            self._obey()

    def _obey(self) -> None:
        """Carry out what the lifeline says."""
        for line in self._lifeline.take_lines():
            order: dict[str, Any] = json.loads(line)
            self._stop(order["cause"], order["grace_s"])
        if not self._lifeline.open:
            self._stop("service_gone", self._grace_s)

    def _enforce(self) -> None:
        """Apply the limits that have passed."""
        if self._status is not None:
            return
        if self._terminated:
            self._terminated = False
            self._stop("stopped", self._grace_s)
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._stop("deadline", self._grace_s)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._sweep()

    def _stop(self, cause: str, grace_s: float) -> None:
        """SIGTERM now, SIGKILL later; a second order can only shorten the time."""
        kill_at = time.monotonic() + max(0.0, grace_s)
        if self._cause is None:
            self._cause = cause
            self._kill_at = kill_at
            if self._child is not None and self._status is None:
                os.kill(self._child.pid, signal.SIGTERM)  # not waited for yet, so the pid is still its own
        elif self._kill_at is not None:
            self._kill_at = min(self._kill_at, kill_at)

    def _reap(self) -> None:
        """Collect every child that has ended: orphans of the session become children of this process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._child is not None and pid == self._child.pid:
                self._status = status
                self._child.returncode = os.waitstatus_to_exitcode(status)

    def _sweep(self) -> list[session.ProcessStat]:
        if self._child is not None and not session.PROC.is_dir():
            session.kill_group(self._child.pid)
        return session.kill_until_gone(
            lambda: session.descendants(os.getpid()), timeout_s=SWEEP_S, reap=self._reap
        )

    def _finish(self, exit_code: int) -> None:
        left = self._sweep()
        record.write_record(
            self._directory / record.EXIT,
            {"exit_code": exit_code, "cause": self._cause or "exited", "left": [stat.pid for stat in left]},
        )

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._terminated = True


def _wake_on_signals(handler: Callable[[int, FrameType | None], None]) -> int:
    """Install ``handler`` and return a descriptor that becomes readable on every signal."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)
    return reader


def _prctl(option: int, value: int) -> None:
    """A Linux call; elsewhere the lifeline has to do alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _death_with(parent: int) -> Callable[[], None]:
    """What the child does before exec: be killed with ``parent``, even if that is gone already."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def bind() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return bind


def main(directory: Path) -> int:
    """Supervise the process of ``directory``; 1 when the service went away before it said what to do."""
    lifeline = Lifeline()
    line = lifeline.first_line()
    if line is None:
        return 1
    Supervisor(directory, lifeline).run(json.loads(line))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
