"""Runs a parser of untrusted bytes in a child process under resource limits.

Covers: memory (address space), processor time, wall-clock time, crashes of native decoders: each ends
the child and never the caller. Does not cover: a decoder that is made to run foreign code; the child
has no secrets in its environment and no input but its arguments, but it runs as the same user.
"""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MEMORY_BYTES: Final = 2 << 30
"""Of address space: Python with Arrow needs 0.25 GiB (measured with a Parquet file of two rows), a row group the rest."""
CPU_S: Final = 600
"""Validating 8 GiB of JSONL takes about as long; a bomb is cut off here."""
_ROOT: Final = Path(__file__).resolve().parents[2]
_KEPT_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")
_STDERR_TAIL: Final = 2000
_PR_SET_PDEATHSIG: Final = 1
"""From linux/prctl.h."""


class ResourceLimitExceeded(Exception):  # noqa: N818 - a fact about the input
    """Reading the input took more memory or time than is allowed, or crashed its decoder."""


class IntakeChildFailed(Exception):  # noqa: N818
    """The child could not do its work for a reason that is not the input's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may use."""

    memory_bytes: int = MEMORY_BYTES
    cpu_s: int = CPU_S
    wall_s: float | None = None
    """None allows twice the processor time and a minute."""

    @property
    def deadline_s(self) -> float:
        """Wall-clock seconds until the child is killed."""
        return 2.0 * self.cpu_s + 60.0 if self.wall_s is None else self.wall_s


def _die_with_parent() -> None:
    """A service that is killed leaves no child behind. Linux only; elsewhere the time limit ends it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def apply_limits(*, memory_bytes: int, cpu_s: int, file_bytes: int = 0) -> None:
    """Bind this process, for good, before it touches the input. ``file_bytes`` is the size of a file it may write."""
    _die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # It answers through a pipe; few parsers have a reason to make a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    # Arrow's own allocator reserves address space that the limit would count.
    return {**kept, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def run_child(module: str, arguments: Sequence[str], limits: Limits) -> bytes:
    """What ``python -m module`` printed.

    The child gets ``--memory-bytes`` and ``--cpu-s`` besides ``arguments``, and must call
    :func:`apply_limits` first. It exits with 0 when it printed its answer, good or bad.

    Raises:
        ResourceLimitExceeded: it was killed by a limit or by a signal of its own making.
        IntakeChildFailed: it ended otherwise without an answer; the message holds the end of its output.
    """
    command = [sys.executable, "-m", module, *arguments]
    command += [f"--memory-bytes={limits.memory_bytes}", f"--cpu-s={limits.cpu_s}"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module, arguments as a list
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=_ROOT,
            env=_environment(),
            timeout=limits.deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ResourceLimitExceeded(f"reading it took longer than {limits.deadline_s:.0f} seconds") from None
    if done.returncode < 0:
        raise ResourceLimitExceeded(
            f"reading it took more than {limits.cpu_s} seconds of processor time or "
            f"{limits.memory_bytes >> 20} MiB of memory, or crashed its decoder (signal {-done.returncode})"
        )
    if done.returncode != 0:
        tail = done.stderr.decode(errors="replace")[-_STDERR_TAIL:]
        raise IntakeChildFailed(f"{module} exited with {done.returncode}: {tail}")
    return done.stdout
