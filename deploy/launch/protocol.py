"""What every launcher can do. The reconciler knows nothing else about where jobs run."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from typing import Literal
from typing import Protocol

from deploy.contract.resources import ANY_RESOURCES
from deploy.contract.resources import Resources

RunKind = Literal["job", "scan"]
MODULES: Final[Mapping[RunKind, str]] = {"job": "training", "scan": "training.scan"}
"""What a run of each kind executes: ``python -m MODULE --spec URI --sha256 HEX``."""


class LaunchError(Exception):
    """The launcher could not do what it was asked."""


class RunPhase(Enum):
    """Where one launched attempt is."""

    PENDING = "pending"
    RUNNING = "running"
    EXITED = "exited"
    """Ended with an exit code."""
    LOST = "lost"
    """Ended without one: killed, or its machine is gone."""


class RunCause(Enum):
    """Why a run waits or ended, as far as its launcher knows; decides what becomes of the job."""

    QUEUED = "queued"
    """PENDING: waits for its turn. However long that takes, nothing is wrong."""
    UNSCHEDULABLE = "unschedulable"
    """PENDING: no machine takes it now. LOST: none took it within the time that the operator allows."""
    IMAGE_PULL_FAILED = "image_pull_failed"
    """PENDING: its image does not come. LOST: it did not come within that time."""
    OUT_OF_MEMORY = "out_of_memory"
    """EXITED or LOST: killed for using more memory than it was given."""
    DEADLINE = "deadline"
    """EXITED or LOST: stopped by the launcher at its deadline."""
    EVICTED = "evicted"
    """EXITED or LOST: its machine was drained, is gone, or was needed by somebody before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """An order to run one attempt. The process gets the spec's URI and hash and nothing else."""

    name: str
    """``harden-{job}-{attempt}`` or ``scan-{scan}-{attempt}``; see :func:`deploy.contract.layout.job_name`."""
    spec_uri: str
    spec_sha256: str
    deadline_s: int
    """Wall-clock seconds after which it is stopped and counts as failed."""
    kind: RunKind = "job"
    """Decides what is run, and with what: a scan needs one processor and no GPU."""
    resources: Resources = ANY_RESOURCES
    """What its user asked for; a local process takes the machine as it is."""
    queue: str | None = None
    """Kueue LocalQueue; None takes the operator's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a launcher sees of one attempt."""

    name: str
    phase: RunPhase
    exit_code: int | None = None
    """Only with EXITED. A signal N is 128+N."""
    reason: str | None = None
    """For people: why it waits, or why it is lost."""
    cause: RunCause | None = None
    """For decisions: the same in one word, where it is one of those."""


class Launcher(Protocol):
    """Runs attempts. Every method may be called again after a crash with the same arguments.

    Methods are thread-safe: the reconciler calls ``launch``, ``stop``, ``remove`` and ``log_tail`` for different
    attempts at the same time.
    """

    def launch(self, order: Launch) -> None:
        """Start an attempt; one that exists under this name already, in whatever phase, is left alone.

        Raises LaunchError.
        """
        ...

    def observe(self) -> Mapping[str, Run]:
        """Every attempt this launcher knows, by name, until it is removed. Never goes back in time.

        Raises LaunchError when what it knows is too old to decide on.
        """
        ...

    @property
    def observed_at(self) -> float:
        """``time.monotonic()`` of the moment that the newest answer of ``observe`` shows.

        Whatever was launched before it and is not in that answer does not exist. A launcher that watches a cluster
        is told of its own launches later, so this may lie seconds back.
        """
        ...

    def stop(self, name: str, *, grace_s: float) -> None:
        """Ask the attempt to stop (SIGTERM), and kill it and all its children after ``grace_s``. Returns at once."""
        ...

    def remove(self, name: str) -> None:
        """Forget an attempt that has ended, with its scratch space; a running one is killed first."""
        ...

    def log_tail(self, name: str, *, lines: int = 50) -> str:
        """The last lines of its output, control characters escaped; empty when there is none."""
        ...

    def close(self) -> None:
        """The service goes away. Local runs are stopped with it; a cluster's go on."""
        ...
