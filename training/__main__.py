"""The job's process: ``python -m training --spec URI --sha256 HEX``.

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
from pathlib import Path
from types import FrameType

from deploy.contract import layout
from deploy.contract.exit_codes import ExitCode
from deploy.contract.result import JobFailure
from deploy.store.protocol import StoreError
from training.errors import JobError
from training.errors import Superseded
from training.failure import describe
from training.job import Job
from training.job import open_job
from training.job import run_job


class _StopSignal:
    """Remembers a SIGTERM; the job looks between two pieces of work."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._remember)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


def _tell(job: Job | None, error: JobError) -> None:
    """Leave the reason where the service reads it; a store that is down must not hide the exit code."""
    print(f"{error.code}: {error.message}", file=sys.stderr, flush=True)  # noqa: T201 - the job's log
    if job is None:
        return
    failure = JobFailure(
        exit_code=error.exit_code, code=error.code, message=error.message[:4000], param=error.param
    )
    with contextlib.suppress(StoreError):
        job.events.say(error.message, level="error")
        job.events.flush()
        job.store.put(layout.failure_key(job.spec.job_id, job.spec.attempt, job.pod), failure.to_bytes())


def main() -> int:
    """Run one start of one attempt. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Run a hardening job.")
    parser.add_argument("--spec", required=True, help="URI of the job's spec")
    parser.add_argument("--sha256", required=True, help="SHA-256 of the spec's bytes")
    args = parser.parse_args()
    stop_asked = _StopSignal()
    job: Job | None = None
    pod = os.environ.get("TEMPER_POD") or uuid.uuid4().hex[:12]
    with tempfile.TemporaryDirectory(prefix="temper-", dir=os.environ.get("TEMPER_SCRATCH")) as scratch:
        try:
            job = open_job(
                spec_uri=args.spec,
                spec_sha256=args.sha256,
                pod=pod,
                scratch=Path(scratch),
                stop_asked=stop_asked,
            )
            run_job(job)
        except Superseded:
            return ExitCode.SUPERSEDED
        except Exception as error:
            described = describe(error)
            if described.exit_code == ExitCode.PLATFORM:
                traceback.print_exc()
            _tell(job, described)
            return int(described.exit_code)
        job.events.say("the result is committed")
        job.events.flush()
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
