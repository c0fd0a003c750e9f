"""What every process of ours that a launcher starts does alike: arguments in, exit code and ``failure.json`` out.

Ends with an exit code of :mod:`deploy.contract.exit_codes`; before a failure it leaves ``failure.json``.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from deploy.contract.exit_codes import ExitCode
from deploy.contract.result import JobFailure
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
from training.errors import JobError
from training.errors import Superseded
from training.events import EventWriter
from training.failure import describe


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a start of an attempt is given."""

    spec_uri: str
    spec_sha256: str
    pod: str
    scratch: Path
    stop_asked: Callable[[], bool]
    """Whether SIGTERM came; to be looked at between two pieces of work."""


class Opened(Protocol):
    """A start whose spec has been read."""

    @property
    def store(self) -> ObjectStore:
        """Where everything goes."""
        ...

    @property
    def events(self) -> EventWriter | None:
        """Its progress; None where another process of the same start tells it, and why it failed."""
        ...

    @property
    def failure_key(self) -> str:
        """Where its ``failure.json`` lies."""
        ...

    def run(self) -> None:
        """Do all of it, the commit included. Raises Superseded and whatever :mod:`training.failure` knows."""
        ...


class _StopSignal:
    """Remembers a SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._remember)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


def _tell(opened: Opened | None, error: JobError) -> None:
    """Leave the reason where the service reads it; a store that is down must not hide the exit code."""
    print(f"{error.code}: {error.message}", file=sys.stderr, flush=True)  # noqa: T201 - the job's log
    if opened is None or opened.events is None:
        return
    failure = JobFailure(
        exit_code=error.exit_code, code=error.code, message=error.message[:4000], param=error.param
    )
    with contextlib.suppress(StoreError):
        opened.events.say(error.message, level="error")
        opened.events.flush()
        opened.store.put(opened.failure_key, failure.to_bytes())


def _arguments(module: str, description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--spec", required=True, help="URI of the spec")
    parser.add_argument("--sha256", required=True, help="SHA-256 of the spec's bytes")
    return parser.parse_args()


def run_process(module: str, description: str, open_start: Callable[[Start], Opened]) -> int:
    """Run one start of one attempt, with this process's arguments. Returns the exit code.

    Args:
        module: what ``python -m`` was given, for the help.
        description: likewise.
        open_start: reads the spec and opens store and events.
    """
    arguments = _arguments(module, description)
    stop_asked = _StopSignal()
    opened: Opened | None = None
    pod = os.environ.get("TEMPER_POD") or uuid.uuid4().hex[:12]
    with tempfile.TemporaryDirectory(prefix="temper-", dir=os.environ.get("TEMPER_SCRATCH")) as scratch:
        start = Start(
            spec_uri=arguments.spec,
            spec_sha256=arguments.sha256,
            pod=pod,
            scratch=Path(scratch),
            stop_asked=stop_asked,
        )
        try:
            opened = open_start(start)
            opened.run()
        except Superseded:
            return ExitCode.SUPERSEDED
        except Exception as error:  # the supervisor of the process
            described = describe(error)
            if described.exit_code == ExitCode.PLATFORM:
                traceback.print_exc()
            _tell(opened, described)
            return int(described.exit_code)
        if opened.events is not None:
            opened.events.say("the result is committed")
            opened.events.flush()
    return ExitCode.OK
