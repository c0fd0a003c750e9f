"""What to do next about every job, or every scan. Pure: rows and observations in, actions out.

A scan is a job without arms, and "job" below means either: whoever calls hands in those of one kind and their runs.

Every action may be applied again, and a process may die between any two of them: the next tick
starts from what is there. Rows in a terminal state are never changed; only what is left of their
runs is cleared away.

Another process may have led before and may still be acting. It can launch a run of an attempt that this one knows,
which is then there already; or of one that is over, which is then cleared away; stop a run, which then resumes from
its checkpoint; remove a run that is over. Its rows' versions are old, so it changes no row.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

from deploy.contract.layout import job_name
from deploy.contract.layout import job_of_name
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunCause
from deploy.launch.protocol import RunPhase
from service.reconcile.actions import Action
from service.reconcile.actions import AdoptAttempt
from service.reconcile.actions import Enqueue
from service.reconcile.actions import Fail
from service.reconcile.actions import LaunchAttempt
from service.reconcile.actions import LookInStore
from service.reconcile.actions import MarkRunning
from service.reconcile.actions import PrepareAttempt
from service.reconcile.actions import RemoveRun
from service.reconcile.actions import SetPaused
from service.reconcile.actions import ShowWaiting
from service.reconcile.actions import StopRun
from service.reconcile.actions import Succeed
from service.reconcile.actions import ValidateInputs
from service.reconcile.actions import VerifyResult
from service.reconcile.ending import after
from service.reconcile.ending import after_gone
from service.reconcile.ending import deadline_problem
from service.reconcile.ending import is_hopeless
from service.reconcile.ending import is_late
from service.reconcile.ending import launch_problem
from service.reconcile.fairness import turns
from service.reconcile.observation import LAUNCHING
from service.reconcile.observation import DesiredWork
from service.reconcile.observation import Limits
from service.reconcile.observation import Observed
from service.reconcile.observation import Told
from service.reconcile.observation import Wanted
from service.reconcile.observation import is_over
from service.work.ends import TERMINAL

STOP_GRACE_S: Final = 10.0
"""For a run whose job is over: nothing that it still writes will be read."""
PAUSE_GRACE_S: Final = 60.0
"""For a run that shall write a checkpoint first."""
DEADLINE_SLACK_S: Final = 60.0
"""The launcher ends a run at its deadline; the reconciler waits this much longer before it does so itself."""
TELL_EVERY_S: Final = 30.0
"""A scheduler's words change with every machine that comes and goes; they are told again this often at most."""


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
    adopted = _adoptions(desired, observed)
    starting = _starting(desired, observed, adopted, now, limits)
    for job in desired:
        if job.id in adopted:
            actions.append(AdoptAttempt(job_id=job.id, attempt=adopted[job.id]))
            continue
        actions += _decide(job, observed, now, limits, may_start=job.id in starting)
    actions += _clear(desired, observed, adopted)
    return actions


def _holds_a_place(job: DesiredWork) -> bool:
    return job.status not in TERMINAL and job.attempt > 0 and job.next_attempt_at is None and not job.paused


def _starting(
    desired: Sequence[DesiredWork],
    observed: Observed,
    adopted: Mapping[str, int],
    now: float,
    limits: Limits,
) -> frozenset[str]:
    """Jobs that get one of the free places."""
    running = [job for job in desired if _holds_a_place(job) or job.id in adopted]
    free = limits.max_running - len(running)
    if free <= 0:
        return frozenset()
    waiting = [
        job for job in desired if job.id not in adopted and _takes_over(job) and _is_due(job, observed, now)
    ]
    return turns(waiting, running, free=free, at_once=observed.at_once, withheld=observed.withheld)


def _is_due(job: DesiredWork, observed: Observed, now: float) -> bool:
    looked = observed.looked.get(job.id)
    judged = looked is not None and looked.result  # it has its result, and needs no place any more
    return job.next_attempt_at is not None and now >= job.next_attempt_at and not judged


def _adoptions(desired: Iterable[DesiredWork], observed: Observed) -> dict[str, int]:
    """By job, an attempt that goes on and that its row, restored from a backup, does not know yet."""
    rows = {job.id: job for job in desired}
    newest: dict[str, int] = {}
    for name, run in observed.runs.items():
        identity = job_of_name(name)
        if identity is None or is_over(run) or name in observed.stopping:
            continue
        job_id, attempt = identity
        job = rows.get(job_id)
        if job is not None and _takes_over(job) and attempt > max(job.attempt, newest.get(job_id, 0)):
            newest[job_id] = attempt
    return newest


def _takes_over(job: DesiredWork) -> bool:
    known = job.status in {"queued", "running"}  # before that there is nothing to compare its spec with
    return known and job.wanted is Wanted.RUN and not job.paused


def _decide(
    job: DesiredWork, observed: Observed, now: float, limits: Limits, *, may_start: bool
) -> Iterator[Action]:
    if job.status in TERMINAL:
        return
    run = observed.runs.get(job_name(job.id, job.attempt)) if job.attempt else None
    looked = observed.looked.get(job.id)
    if looked is not None and looked.result and (run is None or is_over(run)):
        # Whatever the row says: a committed result is the outcome. This is also how a restored
        # database learns of what it has forgotten.
        yield _judge_result(job, observed)
    elif job.status == "validating_files":
        yield from _validate(job, observed)
    elif job.wanted is Wanted.PAUSE:
        yield from _pause(job, run, observed)
    elif job.next_attempt_at is not None:
        if may_start:
            if looked is None:
                yield LookInStore(job_id=job.id, attempt=0)
            else:
                yield PrepareAttempt(job_id=job.id, attempt=job.attempt + 1)
    elif run is None:
        yield from _missing(job, observed, now, limits)
    elif not is_over(run):
        yield from _watch(job, run, observed, now, limits)
    elif looked is None:
        yield LookInStore(job_id=job.id, attempt=job.attempt)
    else:
        yield after(job, run, looked.failures, now, limits, stalled=run.name in observed.stalled)


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
    elif not job.paused and not _may_come(job, run, observed):
        if job.launched_at is not None and job.next_attempt_at is None and job.id not in observed.looked:
            yield LookInStore(job_id=job.id, attempt=job.attempt)
        else:
            yield SetPaused(job_id=job.id)


def _may_come(job: DesiredWork, run: Run | None, observed: Observed) -> bool:
    """Whether the run was launched a moment ago and will be seen in another."""
    return run is None and job.attempt > 0 and job_name(job.id, job.attempt) in observed.unseen


def _missing(job: DesiredWork, observed: Observed, now: float, limits: Limits) -> Iterator[Action]:
    """The newest attempt has no run: not yet, not any more, or the launcher's view is older than its launch."""
    looked = observed.looked.get(job.id)
    if _may_come(job, None, observed):
        return
    if job.launched_at is not None and looked is None:
        yield LookInStore(job_id=job.id, attempt=job.attempt)
    elif not job.seen:
        yield from _launch(job, observed, now, limits)
    elif job_name(job.id, job.attempt) in observed.gone:
        yield after_gone(job, looked.failures if looked else (), now, limits)


def _launch(job: DesiredWork, observed: Observed, now: float, limits: Limits) -> Iterator[Action]:
    if job.launched_at is not None and now - job.launched_at >= limits.deadline_s:
        yield Fail(job_id=job.id, problem=deadline_problem(limits))
        return
    refused, told = observed.refused.get(job.id), observed.told.get(job.id)
    if refused is not None and is_hopeless(refused, now):
        yield Fail(job_id=job.id, problem=launch_problem(refused))
        return
    yield LaunchAttempt(job_id=job.id, attempt=job.attempt)
    if refused is not None and (told is None or _is_news(told, refused.reason, now)):
        yield ShowWaiting(job_id=job.id, reason=refused.reason, queued=False, launching=True)


def _is_news(told: Told, reason: str | None, now: float) -> bool:
    return reason != told.reason and now - told.at >= TELL_EVERY_S


def _watch(job: DesiredWork, run: Run, observed: Observed, now: float, limits: Limits) -> Iterator[Action]:
    if run.phase is RunPhase.PENDING:
        yield from _wait(job, run, observed, now)
        return
    if job.status == "queued" or not job.began:
        yield MarkRunning(job_id=job.id)
    if run.name in observed.stopping:
        return
    if is_late(job, now, limits.deadline_s + DEADLINE_SLACK_S):
        yield StopRun(name=run.name, grace_s=STOP_GRACE_S)
    elif run.name in observed.stalled or job.id in observed.lingering:
        yield StopRun(name=run.name, grace_s=PAUSE_GRACE_S)


def _wait(job: DesiredWork, run: Run, observed: Observed, now: float) -> Iterator[Action]:
    told, queued = observed.told.get(job.id), run.cause is RunCause.QUEUED
    if told is None or job.phase == LAUNCHING or queued != told.queued:
        news = True
    else:
        news = _is_news(told, run.reason, now)
    if news:
        yield ShowWaiting(job_id=job.id, reason=run.reason, queued=queued)


def _clear(
    desired: Iterable[DesiredWork], observed: Observed, adopted: Mapping[str, int]
) -> Iterator[Action]:
    """Runs that no row needs any more: of jobs that are over, of older attempts, of nobody."""
    rows = {job.id: job for job in desired}
    needed = {job_name(job.id, job.attempt) for job in rows.values() if _holds_a_place(job)}
    needed |= {job_name(job_id, attempt) for job_id, attempt in adopted.items()}
    for name, run in observed.runs.items():
        identity = job_of_name(name)
        if name in needed or identity is None:
            continue
        job = rows.get(identity[0])
        if is_over(run):
            yield RemoveRun(name=name)
        elif job is not None and job.status == "validating_files":
            continue  # forgotten by a restored row; it is taken over, or not, when the inputs are known
        elif job is None and name in observed.spared:
            continue
        elif name not in observed.stopping:
            yield StopRun(name=name, grace_s=STOP_GRACE_S, orphan=job is None)
