"""What a Job and its pods together say about one attempt. Pure: objects in, a :class:`Run` out."""

import re
import signal
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Final

from deploy.contract.exit_codes import ExitCode
from deploy.contract.exit_codes import is_users
from deploy.launch.pod_state import Ending
from deploy.launch.pod_state import PodPhase
from deploy.launch.pod_state import ending_since
from deploy.launch.pod_state import index_of
from deploy.launch.pod_state import is_disrupted
from deploy.launch.pod_state import phase_of
from deploy.launch.pod_state import waiting_since
from deploy.launch.pod_state import why_running_is_doubtful
from deploy.launch.pod_state import why_waiting
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunCause
from deploy.launch.protocol import RunPhase

STOPPED: Final = "temper/stopped"
"""Annotation of a Job that was told to stop."""
DEADLINE: Final = "temper/deadline-s"
"""Annotation of a Job: the deadline that it was launched with."""
NODE_SILENCE_S: Final = 300.0
"""A pod that has not ended so long after its grace is over lies on a node that is gone. The cluster itself waits as
long before it takes pods from a node that is silent."""
TERMINATED: Final = 128 + signal.SIGTERM
_CODE_IN_WORDS: Final = re.compile(r"failed with exit code (\d{1,3}) matching FailJob rule")
"""How the Job controller words it; the pod that said it may be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Everything that is known about one attempt."""

    name: str
    job: Mapping[str, Any]
    pods: Sequence[Mapping[str, Any]] = ()
    """Those that exist."""
    endings: Sequence[Ending] = ()
    """Of pods that exist, and of those that were seen to end and are gone."""
    podless_since: float | None = None
    """Unix seconds since which it has been seen without any pod; None while it has one."""
    queue_reason: str | None = None
    """What its queue says about why it waits."""


def run_of(attempt: Attempt, *, now: float, pending_timeout_s: float) -> Run:
    """Where an attempt is.

    Args:
        attempt: what is known.
        now: Unix seconds by the cluster's clock.
        pending_timeout_s: longest time that a pod may wait to start.
    """
    # A Job is over when its controller says so, never earlier: it does once all its pods have ended, and
    # until then a disrupted pod may be replaced.
    if _condition(attempt.job, "Complete"):
        return Run(name=attempt.name, phase=RunPhase.EXITED, exit_code=0)
    failed = _condition(attempt.job, "Failed")
    if failed:
        return _failed(attempt, failed)
    if _is_abandoned(attempt, now):
        return _abandoned(attempt)
    if attempt.job["metadata"].get("deletionTimestamp"):
        return _lost(attempt, "its Job was deleted")
    if attempt.job["spec"].get("suspend"):
        return _suspended(attempt)
    return _going_on(attempt, now, pending_timeout_s)


def is_finished(job: Mapping[str, Any]) -> bool:
    """Whether a Job's controller has said its last word."""
    return bool(_condition(job, "Complete") or _condition(job, "Failed"))


def is_stopped(job: Mapping[str, Any]) -> bool:
    """Whether a Job was told to stop."""
    return STOPPED in (job["metadata"].get("annotations") or {})


def nodes_of(job: Mapping[str, Any]) -> int:
    """How many pods run at a time."""
    return int(job["spec"].get("parallelism") or 1)


def _failed(attempt: Attempt, failed: Mapping[str, Any]) -> Run:
    if any(phase_of(pod) is not PodPhase.ENDED for pod in attempt.pods):
        # All its pods have ended; what is watched of them has not come that far, and has the exit code.
        return Run(name=attempt.name, phase=RunPhase.RUNNING)
    decisive = _decisive(attempt.endings)
    code = None if decisive is None else decisive.exit_code
    if is_stopped(attempt.job):
        return _exited(attempt, TERMINATED if code is None else code, "stopped")
    if failed.get("reason") == "DeadlineExceeded":
        deadline_s = (attempt.job["metadata"].get("annotations") or {}).get(DEADLINE, "?")
        said = f"deadline of {deadline_s} s exceeded"
        return _exited(attempt, TERMINATED if code is None else code, said, RunCause.DEADLINE)
    if decisive is None:
        return _failed_without_pods(attempt, failed)
    if code is None:
        said = decisive.reason or "its pod ended without an exit code"
        return _lost(attempt, said, decisive.cause)
    return _exited(attempt, code, decisive.reason or _signal(code), decisive.cause)


def _failed_without_pods(attempt: Attempt, failed: Mapping[str, Any]) -> Run:
    worded = _CODE_IN_WORDS.search(str(failed.get("message")))
    if worded is not None:
        return _exited(attempt, int(worded[1]), None)
    return _lost(attempt, f"its pods are gone ({failed.get('reason')}: {failed.get('message')})")


def _decisive(endings: Sequence[Ending]) -> Ending | None:
    """Of several pods, the one that explains the failure.

    A verdict about the user's input outweighs what other nodes said when they were left alone. On
    several nodes one that was taken away explains what became of the others; on a single node it was
    replaced, and what came after it counts. Pods that were taken down followed from one that was not. Of the
    rest the first counts.
    """
    failed = [ending for ending in endings if ending.exit_code != ExitCode.OK]
    several = len({ending.index for ending in endings}) > 1
    return min(failed, key=lambda ending: _weight(ending, several=several), default=None)


def _weight(ending: Ending, *, several: bool) -> tuple[bool, bool, bool, bool, float, int]:
    code = ending.exit_code
    verdict = code is not None and (is_users(code) or code == ExitCode.SUPERSEDED)
    disrupted = ending.disrupted is not several
    # The cluster's timestamps are whole seconds: alone they would not tell the first from those it took along.
    return (not verdict, disrupted, ending.taken_down, code is None, ending.finished_at, ending.index)


def _is_abandoned(attempt: Attempt, now: float) -> bool:
    """Whether a pod should have ended long ago, and nothing runs in its place.

    The kubelet of a dead node reports no end, so the Job's controller waits for one: for days, if nobody
    deletes the node. Should the pod still run there, the attempt's number keeps it from doing harm.
    """
    active = [pod for pod in attempt.pods if phase_of(pod) is not PodPhase.ENDED]
    overdue = {index_of(pod) for pod in active if now - (ending_since(pod) or now) > NODE_SILENCE_S}
    return bool(overdue - {index_of(pod) for pod in active if ending_since(pod) is None})


def _abandoned(attempt: Attempt) -> Run:
    if is_stopped(attempt.job):
        return _exited(attempt, TERMINATED, "stopped; its node does not answer")
    return _lost(attempt, "its node does not answer", RunCause.EVICTED)


def _suspended(attempt: Attempt) -> Run:
    if is_stopped(attempt.job) and not any(phase_of(pod) is not PodPhase.ENDED for pod in attempt.pods):
        return _exited(attempt, TERMINATED, "stopped before it started")
    return Run(
        name=attempt.name,
        phase=RunPhase.PENDING,
        reason=attempt.queue_reason or "suspended: waiting to be admitted by its queue",
        cause=RunCause.QUEUED,
    )


def _going_on(attempt: Attempt, now: float, pending_timeout_s: float) -> Run:
    active = [pod for pod in attempt.pods if phase_of(pod) is not PodPhase.ENDED]
    running = {index_of(pod) for pod in active if phase_of(pod) is PodPhase.RUNNING}
    waiting = [pod for pod in active if phase_of(pod) is PodPhase.WAITING and index_of(pod) not in running]
    # Pods that have ended belong to a Job whose controller is about to speak, or to replace them.
    settled = {index_of(pod) for pod in attempt.pods if _has_settled(pod)}
    wanted = nodes_of(attempt.job)
    if len(running | settled) >= wanted or is_stopped(attempt.job):
        doubts = (why_running_is_doubtful(pod) for pod in active)
        said = next((doubt for doubt in doubts if doubt), None)
        return Run(name=attempt.name, phase=RunPhase.RUNNING, reason=said)
    reason, cause = _why_pending(attempt, waiting, wanted)
    since = min(filter(None, (waiting_since(pod) for pod in waiting)), default=attempt.podless_since)
    if since is not None and now - since > pending_timeout_s:
        return _lost(attempt, f"it could not start within {pending_timeout_s:g} s: {reason}", cause)
    return Run(name=attempt.name, phase=RunPhase.PENDING, reason=reason, cause=cause)


def _why_pending(
    attempt: Attempt, waiting: Sequence[Mapping[str, Any]], wanted: int
) -> tuple[str, RunCause | None]:
    if waiting:
        said, cause = why_waiting(min(waiting, key=index_of))
        return said if wanted == 1 else f"{len(waiting)} of {wanted} pods wait: {said}", cause
    if any(is_disrupted(pod) for pod in attempt.pods):
        return "its pod was taken away by the cluster, and another one follows", None
    return "its pod has not been created: is a quota used up, or does a policy refuse it?", None


def _has_settled(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has ended for good: nobody will put another one in its place."""
    deleted = pod["metadata"].get("deletionTimestamp") is not None
    return phase_of(pod) is PodPhase.ENDED and not deleted and not is_disrupted(pod)


def _exited(attempt: Attempt, code: int, reason: str | None, cause: RunCause | None = None) -> Run:
    return Run(name=attempt.name, phase=RunPhase.EXITED, exit_code=int(code), reason=reason, cause=cause)


def _lost(attempt: Attempt, reason: str, cause: RunCause | None = None) -> Run:
    return Run(name=attempt.name, phase=RunPhase.LOST, reason=reason, cause=cause)


def _signal(code: int) -> str | None:
    known = code - 128 in set(signal.Signals)
    return f"killed by {signal.Signals(code - 128).name}" if known else None


def _condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next(
        (each for each in conditions if each.get("type") == kind and each.get("status") == "True"), {}
    )
