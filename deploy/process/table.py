"""The supervised processes of one directory, by name.

The directory is the truth: a table made anew on it knows every process that an earlier one started, and how
each ended. A process never outlives the table's own process: see :mod:`deploy.process.supervisor`.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from typing import Final

from deploy.process import record
from deploy.process import session
from deploy.process.log import read_tail

NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?")
SWEEP_S: Final = 10.0
REMOVE_S: Final = 20.0
"""More than the supervisor's own sweep takes at most."""
_PACKAGE_ROOT: Final = Path(__file__).parents[2]
_POLL_S: Final = 0.02


class ProcessTableError(Exception):
    """A process could not be started or ended."""


class ProcessPhase(Enum):
    """Where one process is."""

    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"
    """Its supervisor was killed, so nobody saw how it ended; what was left of it has been killed."""


class EndCause(Enum):
    """Why a process ended."""

    EXITED = "exited"
    """By itself, or by a signal from elsewhere."""
    STOPPED = "stopped"
    DEADLINE = "deadline"
    SERVICE_GONE = "service_gone"
    """The process that held the table ended or closed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedProcess:
    """What the table sees of one process."""

    name: str
    phase: ProcessPhase
    exit_code: int | None = None
    """Only with EXITED. A signal N is 128+N; 127: it could not be started."""
    cause: EndCause | None = None
    """Only with EXITED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What this process holds of a supervisor that it started."""

    supervisor: subprocess.Popen[bytes]
    lifeline: int


class ProcessTable:
    """Starts, observes and ends processes. Thread-safe; one live table to a directory.

    Args:
        root: of the table; made when it is not there. Readable by its owner only.
        python: runs the supervisors; needs nothing installed.
    """

    def __init__(self, root: Path, *, python: str = sys.executable) -> None:
        self._root = root.absolute()
        self._python = python
        self._held: dict[str, _Held] = {}
        self._lock = threading.RLock()
        self._closed = False
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._root.glob(".*"):  # of a start or a removal that a crash cut short
            shutil.rmtree(leftover, ignore_errors=True)

    @property
    def closed(self) -> bool:
        """Whether nothing can be started any more."""
        return self._closed

    def directory(self, name: str) -> Path:
        """Where the files of a process lie, whether it exists or not. Raises ProcessTableError for a bad name."""
        if NAME.fullmatch(name) is None:
            raise ProcessTableError(f"not a process name: {name!r}")
        return self._root / name

    def scratch(self, name: str) -> Path:
        """The directory that is the process's own from before its start until its removal."""
        return self.directory(name) / record.SCRATCH

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: Path | None = None,
        grace_s: float = 10.0,
        deadline_s: float | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> bool:
        """Start a process unless one has this name already, in whatever phase.

        Args:
            name: of the process; a DNS label.
            argv: program and arguments.
            environment: the whole of it; nothing is inherited, and none of it is written to disk.
            cwd: working directory; None takes the scratch directory.
            grace_s: between SIGTERM and SIGKILL where no order to stop says otherwise.
            deadline_s: wall-clock seconds after which it is stopped.
            labels: for the caller, given back by :meth:`labels`.

        Returns:
            Whether this call started it.

        Raises:
            ProcessTableError: the name is bad, the table is closed, or the machine cannot start a process.
        """
        directory = self.directory(name)
        order = {
            "argv": list(argv),
            "cwd": str(cwd) if cwd is not None else str(directory / record.SCRATCH),
            "grace_s": grace_s,
            "deadline_s": deadline_s,
            "token": uuid.uuid4().hex,
            "labels": dict(labels or {}),
        }
        with self._lock:
            if self._closed:
                raise ProcessTableError(f"cannot start {name}: the table is closed")
            try:
                lock = self._reserve(directory, order)
            except OSError as error:
                raise ProcessTableError(f"cannot prepare {name}: {error}") from error
            if lock is None:
                return False
            try:
                self._held[name] = self._spawn(directory, lock, dict(environment))
            except OSError as error:
                shutil.rmtree(directory, ignore_errors=True)
                raise ProcessTableError(f"cannot start {name}: {error}") from error
            finally:
                os.close(lock)
        return True

    def observe(self) -> dict[str, SupervisedProcess]:
        """Every process of the table by name, until it is removed. Sweeps what a lost one left behind."""
        with self._lock:
            names = sorted(path.name for path in self._root.iterdir() if NAME.fullmatch(path.name))
            return {name: self._look(name) for name in names}

    def labels(self, name: str) -> dict[str, str]:
        """The labels it was started with; empty when there is no such process."""
        order = record.read_record(self.directory(name) / record.ORDER) or {}
        return dict(order.get("labels", {}))

    def stop(self, name: str, *, grace_s: float) -> None:
        """SIGTERM, and after ``grace_s`` SIGKILL to it and all its children. Returns at once.

        One that has ended or does not exist is no error; a second call can only shorten the grace.
        """
        directory = self.directory(name)
        with self._lock:
            held = self._held.get(name)
            if held is not None:
                _order_stop(held, grace_s=grace_s, cause=EndCause.STOPPED)
            elif _is_supervised(directory):
                # Started by another table, whose end has told it to stop already, with its own grace.
                _signal_supervisor(directory, signal.SIGTERM)

    def remove(self, name: str) -> None:
        """Forget a process, with its files; a running one is killed first, all its children too.

        Raises:
            ProcessTableError: it would not die; its files are kept.
        """
        directory = self.directory(name)
        if not directory.exists():
            return
        self.stop(name, grace_s=0.0)
        if not _wait_unsupervised(directory, REMOVE_S):
            _signal_supervisor(directory, signal.SIGKILL)  # it hangs, or is paused
            if not _wait_unsupervised(directory, 1.0):
                raise ProcessTableError(f"{name} does not die")
        with self._lock:
            if not directory.exists():
                return
            self._look(name)  # sweeps a lost one
            self._release(name)
            removed = self._root / f".removed-{uuid.uuid4().hex}"
            directory.rename(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def log_tail(self, name: str, *, lines: int = 50) -> str:
        """The last lines of its output, control characters escaped; empty when there is none."""
        return read_tail(self.directory(name) / record.LOG, lines=lines)

    def close(self, *, grace_s: float = 10.0) -> None:
        """Stop every process and wait until all are gone, at most ``grace_s`` and a sweep; nothing starts again."""
        with self._lock:
            self._closed = True
            for held in self._held.values():
                _order_stop(held, grace_s=grace_s, cause=EndCause.SERVICE_GONE)
            limit = time.monotonic() + grace_s + SWEEP_S
            for name, held in list(self._held.items()):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    held.supervisor.wait(max(0.1, limit - time.monotonic()))
                self._release(name)

    def _reserve(self, directory: Path, order: dict[str, Any]) -> int | None:
        """Make the process's directory in one step; None when it exists. Returns the lock, taken."""
        if directory.exists():
            return None
        staging = self._root / f".new-{uuid.uuid4().hex}"
        staging.mkdir(mode=0o700)
        lock = -1
        try:
            (staging / record.SCRATCH).mkdir()
            record.write_record(staging / record.ORDER, order)
            lock = os.open(staging / record.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            staging.rename(directory)
        except OSError as error:
            if lock >= 0:
                os.close(lock)
            shutil.rmtree(staging, ignore_errors=True)
            if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
                return None
            raise
        return lock

    def _spawn(self, directory: Path, lock: int, environment: dict[str, str]) -> _Held:
        """Start the supervisor: it inherits the lock, its lifeline and the log, and nothing else."""
        log = os.open(directory / record.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        reader, writer = os.pipe()
        try:
            supervisor = subprocess.Popen(  # noqa: S603 - our own program
                [self._python, "-S", "-P", "-m", "deploy.process.supervisor", str(directory)],
                cwd=directory,
                env={"PYTHONPATH": str(_PACKAGE_ROOT), "PATH": os.defpath, "LANG": "C.UTF-8"},
                stdin=reader,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
            )
        except OSError:
            os.close(writer)
            raise
        finally:
            os.close(reader)
            os.close(log)
        held = _Held(supervisor=supervisor, lifeline=writer)
        _send(held, environment)
        return held

    def _look(self, name: str) -> SupervisedProcess:
        directory = self._root / name
        ended = _ended(name, directory)
        if ended is None and _is_supervised(directory):
            return SupervisedProcess(name=name, phase=ProcessPhase.RUNNING)
        self._release(name)
        # It may have ended, and said so, between the first look and the second.
        ended = ended or _ended(name, directory)
        if ended is not None:
            return ended
        self._sweep(name, directory)
        return SupervisedProcess(name=name, phase=ProcessPhase.LOST)

    def _sweep(self, name: str, directory: Path) -> None:
        """Kill what a lost process left behind, once: later the same numbers may be somebody else's."""
        if (directory / record.LOST).exists():
            return
        mark = _mark(directory)
        left = session.kill_until_gone(lambda: session.members(mark), timeout_s=SWEEP_S) if mark else []
        if left:
            raise ProcessTableError(f"{name} is lost, and {[stat.pid for stat in left]} would not die")
        record.write_record(directory / record.LOST, {})

    def _release(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            os.close(held.lifeline)
            with contextlib.suppress(subprocess.TimeoutExpired):
                held.supervisor.wait(1.0)  # it has let go of its lock, or written its last file


def _send(held: _Held, message: Mapping[str, Any]) -> None:
    """Write one line down the lifeline; a supervisor that is gone shows in the next observation."""
    data = json.dumps(message).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(held.lifeline, data) :]


def _order_stop(held: _Held, *, grace_s: float, cause: EndCause) -> None:
    _send(held, {"grace_s": grace_s, "cause": cause.value})


def _is_supervised(directory: Path) -> bool:
    """Whether its supervisor lives: the kernel drops the lock with its holder, however that ends."""
    with _opened(directory / record.LOCK) as lock:
        if lock is None:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _ended(name: str, directory: Path) -> SupervisedProcess | None:
    """How a process ended, when its supervisor said so."""
    exit_record = record.read_record(directory / record.EXIT)
    if exit_record is None:
        return None
    return SupervisedProcess(
        name=name,
        phase=ProcessPhase.EXITED,
        exit_code=exit_record["exit_code"],
        cause=EndCause(exit_record["cause"]),
    )


def _mark(directory: Path) -> session.Mark | None:
    """What a lost process can be recognised by; None when it was lost before it was recorded."""
    order, state = (record.read_record(directory / name) for name in (record.ORDER, record.STATE))
    if order is None:
        return None
    if state is None or state["child_started"] is None:
        return session.Mark(boot_id=session.boot_id(), session=None, started=0, token=order["token"])
    return session.Mark(
        boot_id=state["boot_id"],
        session=state["session"],
        started=state["child_started"],
        token=order["token"],
    )


def _signal_supervisor(directory: Path, number: int) -> None:
    state = record.read_record(directory / record.STATE) or {}
    stat = session.read_stat(state.get("supervisor_pid", 0))
    if stat is not None and stat.started == state["supervisor_started"]:
        session.send_signal(stat, number)


def _wait_unsupervised(directory: Path, timeout_s: float) -> bool:
    limit = time.monotonic() + timeout_s
    while _is_supervised(directory):
        if time.monotonic() > limit:
            return False
        time.sleep(_POLL_S)
    return True
