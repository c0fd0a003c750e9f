"""What can be done about a job or a scan. Data alone: :mod:`service.reconcile.work_actions` does it.

Every action may be applied again, and a process may die between any two of them.
"""

from dataclasses import dataclass

from service.reconcile.observation import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateInputs:
    """Check files and base model in the background."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueue:
    """The inputs are good: wait for a place."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareAttempt:
    """Write the spec of an attempt once, then commit the attempt."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchAttempt:
    """Start a committed attempt; one that exists already is left alone."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptAttempt:
    """Take over a run whose attempt the database has forgotten, if its spec is this job's; else stop it."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowWaiting:
    """Tell what the run waits for."""

    job_id: str
    reason: str | None
    queued: bool
    """For its turn, not for a machine."""
    launching: bool = False
    """The launcher has not taken it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRunning:
    """The run has begun."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookInStore:
    """See whether there is a result, and what the ended run of ``attempt`` left behind."""

    job_id: str
    attempt: int
    """0 looks for a result alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """Hash everything that the result names, in the background."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed:
    """Publish the verified result."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """End the job."""

    job_id: str
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The attempt is over without a result: another may start from ``at``."""

    job_id: str
    attempt: int
    at: float
    counts: bool
    """Whether it uses up one of the failures that the platform is allowed."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPaused:
    """The run is gone: the job waits for ``resume``."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRun:
    """Ask a run to end."""

    name: str
    grace_s: float
    orphan: bool = False
    """No row knows its job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveRun:
    """Keep the run's log, then forget the run."""

    name: str


Start = PrepareAttempt | LaunchAttempt | AdoptAttempt
"""Makes a run, or makes one its row's."""
Clear = StopRun | RemoveRun
"""Of a run, whether or not there is a row."""
Errand = Start | Clear | LookInStore
"""Asks the store or the launcher."""
Change = (
    ValidateInputs | Enqueue | ShowWaiting | MarkRunning | VerifyResult | Succeed | Fail | Retry | SetPaused
)
"""Changes a row, or begins what will."""
Action = Errand | Change
