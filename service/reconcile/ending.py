"""What becomes of a job whose run ended, or disappeared, and committed nothing: another attempt, or its end.

The codes that are made here are those of :mod:`service.work.ends`.
"""

from collections.abc import Sequence
from typing import Final

from deploy.contract.exit_codes import ExitCode
from deploy.contract.exit_codes import is_users
from deploy.contract.layout import is_scan
from deploy.contract.result import JobFailure
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunCause
from deploy.launch.protocol import RunPhase
from service.reconcile.actions import Action
from service.reconcile.actions import Fail
from service.reconcile.actions import Retry
from service.reconcile.observation import DesiredWork
from service.reconcile.observation import Limits
from service.reconcile.observation import Problem
from service.reconcile.observation import Refused

BACKOFF_S: Final = (2, 10, 60, 300)
"""Before the second, third, ... start."""
MAX_INTERRUPTIONS: Final = 100
"""Starts in all. Interruptions (a drained node, a service that was restarted) count for nothing else."""
REPEATABLE: Final = 2
"""Failures of a kind that comes back: the second attempt resumes from a checkpoint, a third would be a waste."""
LAUNCH_WITHIN_S: Final = 3600.0
"""An order that is refused for longer (by a quota, a policy, a missing namespace) is not taken any more."""
LAUNCH_TRIES: Final = 10
"""At least: after an hour without a network one refusal says nothing."""
ADVICE: Final = (
    "Ask for more with hardening.resources.memory_gib, or lower batch_size or hardening.training.max_tokens."
)
REASONS: Final = {
    RunCause.UNSCHEDULABLE: "No machine could take the run in time",
    RunCause.IMAGE_PULL_FAILED: "The run's image could not be pulled in time",
}


def after(
    job: DesiredWork, run: Run, failures: Sequence[JobFailure], now: float, limits: Limits, *, stalled: bool
) -> Action:
    """A run that is over.

    Args:
        job: its row.
        run: as its launcher saw it end.
        failures: what its starts left behind.
        now: Unix seconds.
        limits: the operator's.
        stalled: it was stopped because it made no progress.
    """
    failure = _of(run, failures)
    if run.exit_code is not None and is_users(run.exit_code):
        return Fail(job_id=job.id, problem=_users_problem(run.exit_code, failure))
    final = _final(job, run, limits)
    if final is not None:
        return Fail(job_id=job.id, problem=final)
    if is_late(job, now, limits.deadline_s):
        return Fail(job_id=job.id, problem=deadline_problem(limits))
    said = "was stopped, for it made no progress" if stalled else _how_it_ended(run, failure)
    return _again(job, run, said, now, limits, stalled=stalled)


def after_gone(job: DesiredWork, failures: Sequence[JobFailure], now: float, limits: Limits) -> Action:
    """A run that was seen and is not there any more: deleted by hand, or by its time to live before we saw its end."""
    told = [each for each in failures if is_users(each.exit_code)]
    if told:
        return Fail(job_id=job.id, problem=_users_problem(told[-1].exit_code, told[-1]))
    if is_late(job, now, limits.deadline_s):
        return Fail(job_id=job.id, problem=deadline_problem(limits))
    run = Run(name="", phase=RunPhase.LOST)
    return _again(job, run, "disappeared without a result", now, limits, stalled=False)


def is_late(job: DesiredWork, now: float, allowed_s: float) -> bool:
    """Whether the newest attempt began so long ago."""
    return job.began and job.launched_at is not None and now - job.launched_at >= allowed_s


def deadline_problem(limits: Limits) -> Problem:
    """Why a run that took too long failed."""
    return Problem(
        code="deadline_exceeded", message=f"The run was stopped at its deadline of {limits.deadline_s:g} s."
    )


def is_hopeless(refused: Refused, now: float) -> bool:
    """Whether a launch was refused for so long, and so often, that it will always be."""
    return now - refused.since >= LAUNCH_WITHIN_S and refused.times >= LAUNCH_TRIES


def launch_problem(refused: Refused) -> Problem:
    """Why a run that no launcher took failed."""
    message = f"The run could not be launched within {LAUNCH_WITHIN_S:g} s: {refused.reason.rstrip('.')}."
    return Problem(code="launch_failed", message=message)


def _of(run: Run, failures: Sequence[JobFailure]) -> JobFailure | None:
    """What the start said that gave the run its exit code; else the last word of any."""
    said = [each for each in failures if each.exit_code == run.exit_code] or list(failures)
    return said[-1] if said else None


def _final(job: DesiredWork, run: Run, limits: Limits) -> Problem | None:
    """An end that another attempt would only repeat."""
    if run.cause is RunCause.DEADLINE:
        return deadline_problem(limits)
    if run.cause is RunCause.OUT_OF_MEMORY:
        message = f"The run was killed for using more memory than it had{_because(run)}."
        return Problem(code="out_of_memory", message=message if is_scan(job.id) else f"{message} {ADVICE}")
    if run.cause in REASONS:
        return Problem(code=run.cause.value, message=f"{REASONS[run.cause]}{_because(run)}.")
    return None


def _because(run: Run) -> str:
    return f": {run.reason.rstrip('.')}" if run.reason else ""


def _again(job: DesiredWork, run: Run, said: str, now: float, limits: Limits, *, stalled: bool) -> Action:
    """Another attempt, unless there were enough."""
    code, allowed = "platform_error", limits.max_failures
    interrupted = not stalled and (run.exit_code == ExitCode.INTERRUPTED or run.cause is RunCause.EVICTED)
    if stalled:
        code, allowed = "stalled", min(REPEATABLE, allowed)
    elif run.exit_code == ExitCode.OUT_OF_MEMORY:
        code, allowed = "out_of_memory", min(REPEATABLE, allowed)
    elif run.cause is RunCause.EVICTED:
        code = "evicted"
    failures = job.failures + (not interrupted)
    if failures >= allowed or job.attempt >= MAX_INTERRUPTIONS:
        return Fail(job_id=job.id, problem=Problem(code=code, message=_given_up(job, failures, said)))
    wait_s = 0 if interrupted else BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
    return Retry(
        job_id=job.id, attempt=job.attempt, at=now + wait_s, counts=not interrupted, reason=f"it {said}"
    )


def _given_up(job: DesiredWork, failures: int, said: str) -> str:
    if job.attempt >= MAX_INTERRUPTIONS:
        return f"The job was started {job.attempt} times; the last attempt {said}."
    times = "once" if failures == 1 else f"{failures} times"
    return f"The platform failed {times}; the last attempt {said}."


def _users_problem(code: int, failure: JobFailure | None) -> Problem:
    if failure is None:
        name = ExitCode(code).name.lower() if code in set(ExitCode) else "invalid_input"
        return Problem(code=name, message=f"The run refused its input (exit code {code}) and left no reason.")
    return Problem(code=failure.code, message=failure.message, param=failure.param)


def _how_it_ended(run: Run, failure: JobFailure | None) -> str:
    if failure is not None:
        return f"ended with {failure.code}: {failure.message}"
    if run.cause is RunCause.EVICTED:
        return f"was evicted from its machine{f' ({run.reason})' if run.reason else ''}"
    if run.phase is RunPhase.LOST:
        return f"was lost{f' ({run.reason})' if run.reason else ''}"
    if run.exit_code in {ExitCode.OK, ExitCode.SUPERSEDED}:
        return "ended without a result"
    return f"ended with exit code {run.exit_code}"
