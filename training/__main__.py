"""The job's process: ``python -m training --spec URI --sha256 HEX``. See :mod:`training.process`."""

import sys

from training.job import open_job
from training.process import run_process


def main() -> int:
    """Run one start of one attempt of a job. Returns the exit code."""
    return run_process("training", "Run a hardening job.", open_job)


if __name__ == "__main__":
    sys.exit(main())
