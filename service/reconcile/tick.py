"""What to do next about every job, or every scan. Pure: rows and observations in, actions out.

A scan is a job without arms, and "job" below means either: whoever calls hands in those of one kind and their runs.

Every action may be applied again, and a process may die between any two of them: the next tick
starts from what is there. Rows in a terminal state are never changed; only what is left of their
runs is cleared away.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from enum import Enum
from typing import Final
from typing import Literal

from deploy.contract.exit_codes import ExitCode
from deploy.contract.exit_codes import is_users
from deploy.contract.layout import job_name
from deploy.contract.result import JobFailure
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase

TERMINAL: Final = frozenset({"succeeded", "failed", "cancelled"})
STOP_GRACE_S: Final = 10.0
"""For a run whose job is over: nothing that it still writes will be read."""
PAUSE_GRACE_S: Final = 60.0
"""For a run that shall write a checkpoint first."""
DEADLINE_SLACK_S: Final = 60.0
"""The launcher ends a run at its deadline; the reconciler waits this much longer before it does so itself."""
BACKOFF_S: Final = (2, 10, 60, 300)
"""Before the second, third, ... start."""
MAX_INTERRUPTIONS: Final = 100
"""Starts in all. Interruptions (a drained node, a service that was restarted) count for nothing else."""


class Wanted(Enum):
    """What its user wants of a job that is not over."""

    RUN = "run"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredWork:
    """One row, as far as decisions need it."""

    id: str
    status: Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
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
    """Unix seconds of the newest attempt's launch."""


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
class Observed:
    """What launcher and store show."""

    runs: Mapping[str, Run] = field(default_factory=dict)
    results: frozenset[str] = frozenset()
    """Jobs whose ``result.json`` exists."""
    failures: Mapping[str, JobFailure] = field(default_factory=dict)
    """What ended runs left behind, by run name."""
    inputs: Mapping[str, Checked] = field(default_factory=dict)
    """Finished validations, by job."""
    outputs: Mapping[str, Checked] = field(default_factory=dict)
    """Finished verifications of results, by job."""
    stopping: frozenset[str] = frozenset()
    """Runs that this process has asked to stop already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's bounds."""

    max_failures: int
    max_running: int
    deadline_s: float


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
class MarkRunning:
    """The run has begun."""

    job_id: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveRun:
    """Keep the run's log, then forget the run."""

    name: str


Action = (
    ValidateInputs
    | Enqueue
    | PrepareAttempt
    | LaunchAttempt
    | MarkRunning
    | VerifyResult
    | Succeed
    | Fail
    | Retry
    | SetPaused
    | StopRun
    | RemoveRun
)


def is_over(run: Run) -> bool:
    """Whether a run has ended, one way or another."""
    return run.phase in {RunPhase.EXITED, RunPhase.LOST}


def tick(desired: Sequence[DesiredWork], observed: Observed, now: float, *, limits: Limits) -> list[Action]:
    """Everything that can be done now, at most one change of each row.

    Args:
        desired: all jobs that are not over, and those over that still have a run.
        observed: the runs must have been read before the rows: a run whose row had not been read yet
            would look like nobody's.
        now: Unix seconds.
        limits: the operator's bounds.
    """
    actions: list[Action] = []
    free = limits.max_running - sum(_holds_a_place(job) for job in desired)
    for job in desired:
        decided = list(_decide(job, observed, now, limits, may_start=free > 0))
        free -= sum(isinstance(action, PrepareAttempt) for action in decided)
        actions += decided
    actions += _clear(desired, observed)
    return actions


def _holds_a_place(job: DesiredWork) -> bool:
    return job.status not in TERMINAL and job.attempt > 0 and job.next_attempt_at is None and not job.paused


def _decide(
    job: DesiredWork, observed: Observed, now: float, limits: Limits, *, may_start: bool
) -> Iterator[Action]:
    if job.status in TERMINAL:
        return
    run = observed.runs.get(job_name(job.id, job.attempt)) if job.attempt else None
    if job.id in observed.results and (run is None or is_over(run)):
        # Whatever the row says: a committed result is the outcome. This is also how a restored
        # database learns of what it has forgotten.
        yield _judge_result(job, observed)
    elif job.status == "validating_files":
        yield from _validate(job, observed)
    elif job.wanted is Wanted.PAUSE:
        yield from _pause(job, run, observed)
    elif job.next_attempt_at is not None:
        if may_start and now >= job.next_attempt_at:
            yield PrepareAttempt(job_id=job.id, attempt=job.attempt + 1)
    elif run is None:
        yield _relaunch(job, now, limits)
    elif is_over(run):
        yield _after(job, run, observed.failures.get(run.name), now, limits)
    else:
        yield from _watch(job, run, observed, now, limits)


def _judge_result(job: DesiredWork, observed: Observed) -> Action:
    checked = observed.outputs.get(job.id)
    if checked is None:
        return VerifyResult(job_id=job.id)
    if checked.problem is not None:
        return Fail(job_id=job.id, problem=checked.problem)
    return Succeed(job_id=job.id)


def _validate(job: DesiredWork, observed: Observed) -> Iterator[Action]:
    checked = observed.inputs.get(job.id)
    if checked is None:
        yield ValidateInputs(job_id=job.id)
    elif checked.problem is not None:
        yield Fail(job_id=job.id, problem=checked.problem)
    else:
        yield Enqueue(job_id=job.id)


def _pause(job: DesiredWork, run: Run | None, observed: Observed) -> Iterator[Action]:
    if run is not None and not is_over(run):
        if run.name not in observed.stopping:
            yield StopRun(name=run.name, grace_s=PAUSE_GRACE_S)
    elif not job.paused:
        yield SetPaused(job_id=job.id)


def _relaunch(job: DesiredWork, now: float, limits: Limits) -> Action:
    if _is_late(job, now, limits.deadline_s):
        return Fail(job_id=job.id, problem=_deadline_problem(limits))
    return LaunchAttempt(job_id=job.id, attempt=job.attempt)


def _is_late(job: DesiredWork, now: float, allowed_s: float) -> bool:
    return job.launched_at is not None and now - job.launched_at >= allowed_s


def _deadline_problem(limits: Limits) -> Problem:
    return Problem(
        code="deadline_exceeded", message=f"The run was stopped at its deadline of {limits.deadline_s:g} s."
    )


def _after(job: DesiredWork, run: Run, failure: JobFailure | None, now: float, limits: Limits) -> Action:
    """A run that ended and committed nothing."""
    code = run.exit_code
    if code is not None and is_users(code):
        return Fail(job_id=job.id, problem=_users_problem(code, failure))
    if _is_late(job, now, limits.deadline_s):
        return Fail(job_id=job.id, problem=_deadline_problem(limits))
    interrupted = code == ExitCode.INTERRUPTED
    failures = job.failures + (not interrupted)
    said = _how_it_ended(run, failure)
    if failures >= limits.max_failures or job.attempt >= MAX_INTERRUPTIONS:
        message = f"The platform failed {failures} times; the last attempt {said}."
        return Fail(job_id=job.id, problem=Problem(code="platform_error", message=message))
    wait_s = 0 if interrupted else BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
    return Retry(
        job_id=job.id, attempt=job.attempt, at=now + wait_s, counts=not interrupted, reason=f"it {said}"
    )


def _users_problem(code: int, failure: JobFailure | None) -> Problem:
    if failure is None:
        name = ExitCode(code).name.lower() if code in set(ExitCode) else "invalid_input"
        return Problem(code=name, message=f"The run refused its input (exit code {code}) and left no reason.")
    return Problem(code=failure.code, message=failure.message, param=failure.param)


def _how_it_ended(run: Run, failure: JobFailure | None) -> str:
    if failure is not None:
        return f"ended with {failure.code}: {failure.message}"
    if run.phase is RunPhase.LOST:
        return f"was lost{f' ({run.reason})' if run.reason else ''}"
    if run.exit_code in {ExitCode.OK, ExitCode.SUPERSEDED}:
        return "ended without a result"
    return f"ended with exit code {run.exit_code}"


def _watch(job: DesiredWork, run: Run, observed: Observed, now: float, limits: Limits) -> Iterator[Action]:
    if run.phase is RunPhase.RUNNING and job.status == "queued":
        yield MarkRunning(job_id=job.id)
    if _is_late(job, now, limits.deadline_s + DEADLINE_SLACK_S) and run.name not in observed.stopping:
        yield StopRun(name=run.name, grace_s=STOP_GRACE_S)


def _clear(desired: Iterable[DesiredWork], observed: Observed) -> Iterator[Action]:
    """Runs that no row needs any more: of jobs that are over, of older attempts, of nobody."""
    needed = {
        job_name(job.id, job.attempt)
        for job in desired
        if job.status not in TERMINAL and not job.paused and job.next_attempt_at is None
    }
    for name, run in observed.runs.items():
        if name in needed:
            continue
        if is_over(run):
            yield RemoveRun(name=name)
        elif name not in observed.stopping:
            yield StopRun(name=name, grace_s=STOP_GRACE_S)
