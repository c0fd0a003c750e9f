"""What decisions about jobs and scans are made of: rows as they are wanted, and what can be seen. Data alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from enum import Enum
from typing import Final
from typing import Literal

from deploy.contract.result import JobFailure
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase

LAUNCHING: Final = "launching"
"""Phase from the order to launch until the run is seen for the first time."""
WAITING: Final = frozenset({"queued", "pending"})
"""Phases of a run that is there and has not begun."""


class Wanted(Enum):
    """What its user wants of a job that is not over."""

    RUN = "run"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredWork:
    """One row, as far as decisions need it."""

    id: str
    project: str = "default"
    status: Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
    phase: str | None = None
    wanted: Wanted = Wanted.RUN
    paused: bool = False
    """The pause has been carried out: there is no run."""
    attempt: int = 0
    """The newest attempt whose spec is committed; 0 before the first."""
    next_attempt_at: float | None = None
    """Unix seconds from which another attempt may start; None while the newest one is going on."""
    failures: int = 0
    """Attempts that the platform made fail."""
    launched_at: float | None = None
    """Unix seconds of the newest attempt's launch; once it has begun, of its beginning."""

    @property
    def seen(self) -> bool:
        """Whether the newest attempt's run has been seen. A name that was seen is never launched again."""
        return self.launched_at is not None and self.phase != LAUNCHING

    @property
    def began(self) -> bool:
        """Whether that run has begun: only then does its deadline count."""
        return self.seen and self.phase not in WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a job failed, as its user reads it."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check in the background found: nothing wrong, or a problem."""

    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What the store showed of a job while none of its runs went on."""

    result: bool = False
    """Its ``result.json`` exists."""
    failures: tuple[JobFailure, ...] = ()
    """What the starts of its newest attempt left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What this process has last told a user of waiting."""

    reason: str | None
    queued: bool
    at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """That a launcher does not take an order, again and again."""

    reason: str
    since: float
    """Unix seconds."""
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What launcher and store show."""

    runs: Mapping[str, Run] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()
    """Runs launched later than ``runs`` can show: that they are missing means nothing."""
    gone: frozenset[str] = frozenset()
    """Runs that have been missing for so long that they do not exist."""
    looked: Mapping[str, Looked] = field(default_factory=dict)
    """By job; only those that are still true."""
    inputs: Mapping[str, Checked] = field(default_factory=dict)
    """Finished validations, by job."""
    outputs: Mapping[str, Checked] = field(default_factory=dict)
    """Finished verifications of results, by job."""
    stopping: frozenset[str] = frozenset()
    """Runs that this process has asked to stop already."""
    spared: frozenset[str] = frozenset()
    """Runs of jobs that the store knows and the database does not: it may be an old one, about to be recovered."""
    stalled: frozenset[str] = frozenset()
    """Runs that have made no progress for longer than allowed."""
    lingering: frozenset[str] = frozenset()
    """Jobs that have had a result for so long that their runs should have ended."""
    told: Mapping[str, Told] = field(default_factory=dict)
    """By job."""
    refused: Mapping[str, Refused] = field(default_factory=dict)
    """By job whose newest attempt could not be launched."""
    at_once: Mapping[str, int] = field(default_factory=dict)
    """How many jobs a project may run, where it has such a limit."""
    withheld: frozenset[str] = frozenset()
    """Projects that have used their GPU hours up: what runs may end, nothing is started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's bounds."""

    max_failures: int
    max_running: int
    deadline_s: float


def is_over(run: Run) -> bool:
    """Whether a run has ended, one way or another."""
    return run.phase in {RunPhase.EXITED, RunPhase.LOST}
