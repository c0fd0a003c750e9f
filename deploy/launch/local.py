"""Attempts as supervised processes of this machine, a few of each kind at a time, the rest in a queue.

Below its root: ``runs/`` is a :class:`deploy.process.table.ProcessTable`; ``waiting/{number}-{name}.json`` are
attempts that have not started, in order; ``stopped/{name}.json`` are those that were stopped before they could.
The queue lies on disk as well, so a restarted service goes on with it.
"""

import json
import os
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.launch.environment import inherit
from deploy.launch.protocol import MODULES
from deploy.launch.protocol import Launch
from deploy.launch.protocol import LaunchError
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunCause
from deploy.launch.protocol import RunKind
from deploy.launch.protocol import RunPhase
from deploy.process.record import read_record
from deploy.process.record import write_record
from deploy.process.table import EndCause
from deploy.process.table import ProcessPhase
from deploy.process.table import ProcessTable
from deploy.process.table import ProcessTableError
from deploy.process.table import SupervisedProcess

DEADLINE_GRACE_S: Final = 30.0
"""A job that is told to stop writes a checkpoint first; the same as a pod's default."""
CLOSE_GRACE_S: Final = 10.0
POD_LABEL: Final = "pod"
KIND_LABEL: Final = "kind"
NEVER_STARTED: Final = 128 + signal.SIGTERM
"""What a process that is stopped at once would have said."""


class LocalLauncher:
    """Implements :class:`deploy.launch.protocol.Launcher` on this machine.

    Args:
        root: of its state; one live launcher to a root.
        python: runs the jobs; has the ``training`` package.
        max_running: attempts of jobs at a time; the others wait their turn.
        max_running_scans: likewise of scans, which need not wait for a job to end.
        environment: what the allow-list of :mod:`deploy.launch.environment` picks from.
        command: argv of a job before ``--spec URI --sha256 HEX``; None is ``python -m training``.
        scan_command: likewise of a scan; None is ``python -m training.scan``.
    """

    def __init__(
        self,
        root: Path,
        *,
        python: str = sys.executable,
        max_running: int = 1,
        max_running_scans: int = 1,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        scan_command: Sequence[str] | None = None,
        new_pod: Callable[[], str] = lambda: f"pod-{uuid.uuid4().hex[:16]}",
    ) -> None:
        self._table = ProcessTable(root / "runs")
        self._waiting = root / "waiting"
        self._stopped = root / "stopped"
        for directory in (self._waiting, self._stopped):
            directory.mkdir(mode=0o700, exist_ok=True)
        self._places: dict[RunKind, int] = {"job": max_running, "scan": max_running_scans}
        self._environment = dict(os.environ if environment is None else environment)
        chosen: dict[RunKind, Sequence[str] | None] = {"job": command, "scan": scan_command}
        self._commands = {kind: tuple(chosen[kind] or (python, "-m", MODULES[kind])) for kind in MODULES}
        self._new_pod = new_pod
        self._lock = threading.RLock()

    def launch(self, order: Launch) -> None:
        """Start an attempt, or queue it; one of this name, in whatever phase, is left alone. Raises LaunchError."""
        with self._lock:
            try:
                known = self._table.directory(order.name).exists()
                if known or self._stop_record(order.name).exists() or order.name in self._queue():
                    return
                self._enqueue(order)
                self._start_waiting(self._table.observe())
            except (ProcessTableError, OSError) as error:
                raise LaunchError(f"cannot launch {order.name}: {error}") from error

    def observe(self) -> Mapping[str, Run]:
        """Every attempt by name, until it is removed; starts those whose turn has come. Raises LaunchError."""
        with self._lock:
            try:
                processes = self._table.observe()
                if self._start_waiting(processes):
                    processes = self._table.observe()
                runs = {name: self._run(process) for name, process in processes.items()}
                for name in (path.stem for path in self._stopped.glob("*.json")):
                    runs[name] = Run(
                        name=name,
                        phase=RunPhase.EXITED,
                        exit_code=NEVER_STARTED,
                        reason="stopped before it started",
                    )
                before = self._running(processes)
                for name, path in self._queue().items():
                    kind = _order_of(path).kind
                    runs.setdefault(name, _pending(name, kind, before[kind]))
                    before[kind] += 1
            except (ProcessTableError, OSError) as error:
                raise LaunchError(f"cannot observe: {error}") from error
            return runs

    @property
    def observed_at(self) -> float:
        """Now: it looks anew each time."""
        return time.monotonic()

    def stop(self, name: str, *, grace_s: float) -> None:
        """SIGTERM, and SIGKILL to all of it after ``grace_s``; one that waits never starts. Returns at once.

        Raises LaunchError for a bad name.
        """
        with self._lock:
            waiting = self._queue().get(name)
            try:
                if waiting is not None and not self._table.directory(name).exists():
                    waiting.rename(self._stop_record(name))
                else:
                    self._table.stop(name, grace_s=grace_s)
            except ProcessTableError as error:
                raise LaunchError(str(error)) from error

    def remove(self, name: str) -> None:
        """Forget an attempt, with its scratch space; a running one is killed first. Raises LaunchError."""
        with self._lock:
            waiting = self._queue().get(name)
            if waiting is not None:
                waiting.unlink()
            self._stop_record(name).unlink(missing_ok=True)
        try:
            self._table.remove(name)
        except ProcessTableError as error:
            raise LaunchError(str(error)) from error

    def log_tail(self, name: str, *, lines: int = 50) -> str:
        """The last lines of its output, control characters escaped; empty when there is none."""
        return self._table.log_tail(name, lines=lines)

    def pod(self, name: str) -> str | None:
        """The pod id that this start writes below (``TEMPER_POD``); None before it has started."""
        return self._table.labels(name).get(POD_LABEL)

    def close(self) -> None:
        """Stop every run and wait until all are gone; what waits stays queued for the next launcher."""
        self._table.close(grace_s=CLOSE_GRACE_S)

    def _enqueue(self, order: Launch) -> None:
        numbers = [int(path.name.partition("-")[0]) for path in self._waiting.glob("*.json")]
        path = self._waiting / f"{max(numbers, default=0) + 1:08d}-{order.name}.json"
        write_record(
            path,
            {
                "name": order.name,
                "spec_uri": order.spec_uri,
                "spec_sha256": order.spec_sha256,
                "deadline_s": order.deadline_s,
                "kind": order.kind,
            },
        )

    def _queue(self) -> dict[str, Path]:
        """Waiting attempts by name, first come first."""
        paths = sorted(path for path in self._waiting.glob("*.json") if not path.name.startswith("."))
        return {path.stem.partition("-")[2]: path for path in paths}

    def _start_waiting(self, processes: Mapping[str, SupervisedProcess]) -> bool:
        """Start what there is room for. Returns whether anything was started."""
        if self._table.closed:
            return False
        waiting = list(self._queue().values())
        running = self._running(processes) if waiting else Counter()
        started = False
        for path in waiting:
            order = _order_of(path)
            if running[order.kind] >= self._places[order.kind]:
                continue
            self._start(order)
            path.unlink()  # after the start: a crash in between starts nothing twice, the name is taken
            running[order.kind] += 1
            started = True
        return started

    def _running(self, processes: Mapping[str, SupervisedProcess]) -> Counter[str]:
        """How many of each kind run."""
        going_on = (name for name, each in processes.items() if each.phase is ProcessPhase.RUNNING)
        return Counter(self._table.labels(name).get(KIND_LABEL, "job") for name in going_on)

    def _start(self, order: Launch) -> None:
        pod = self._new_pod()
        scratch = self._table.scratch(order.name)
        self._table.start(
            order.name,
            [*self._commands[order.kind], "--spec", order.spec_uri, "--sha256", order.spec_sha256],
            environment={
                **inherit(self._environment, scratch=scratch),
                "TEMPER_POD": pod,
                "TEMPER_SCRATCH": str(scratch),
            },
            grace_s=DEADLINE_GRACE_S,
            deadline_s=order.deadline_s,
            labels={POD_LABEL: pod, KIND_LABEL: order.kind, "deadline_s": json.dumps(order.deadline_s)},
        )

    def _stop_record(self, name: str) -> Path:
        self._table.directory(name)  # refuses a bad name
        return self._stopped / f"{name}.json"

    def _run(self, process: SupervisedProcess) -> Run:
        if process.phase is ProcessPhase.RUNNING:
            return Run(name=process.name, phase=RunPhase.RUNNING)
        if process.phase is ProcessPhase.LOST:
            return Run(name=process.name, phase=RunPhase.LOST, reason="its supervisor was killed")
        return Run(
            name=process.name,
            phase=RunPhase.EXITED,
            exit_code=process.exit_code,
            reason=self._reason(process),
            cause=RunCause.DEADLINE if process.cause is EndCause.DEADLINE else None,
        )

    def _reason(self, process: SupervisedProcess) -> str | None:
        match process.cause:
            case EndCause.DEADLINE:
                return f"deadline of {self._table.labels(process.name).get('deadline_s', '?')} s exceeded"
            case EndCause.STOPPED:
                return "stopped"
            case EndCause.SERVICE_GONE:
                return "the service went away"
        code = process.exit_code or 0
        if code > 128 and code - 128 in set(signal.Signals):
            return f"killed by {signal.Signals(code - 128).name}"
        return None


def _order_of(path: Path) -> Launch:
    """The attempt that waits there. Raises LaunchError."""
    waiting = read_record(path)
    if waiting is None:
        raise LaunchError(f"{path.name} cannot be read")
    return Launch(**waiting)


def _pending(name: str, kind: RunKind, before: int) -> Run:
    jobs = f"1 {kind}" if before == 1 else f"{before} {kind}s"
    reason = f"waiting for {jobs} before it"
    return Run(name=name, phase=RunPhase.PENDING, reason=reason, cause=RunCause.QUEUED)
