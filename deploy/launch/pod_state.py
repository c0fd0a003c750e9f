"""What the status of one pod says: whether it waits, runs or has ended, and why, in words for people."""

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from typing import Final

from deploy.kubernetes.client import moment
from deploy.launch.protocol import RunCause

CONTAINER: Final = "training"
"""Name of the only container."""
CONTROLLER_UID: Final = "batch.kubernetes.io/controller-uid"
"""Label of a pod: which Job made it. The name of a Job may be used again, its uid is not."""
INDEX: Final = "batch.kubernetes.io/job-completion-index"
LONGEST_REASON: Final = 500
_OUT_OF_MEMORY: Final = "OOMKilled"
_NO_IMAGE: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_NODE_WENT: Final = frozenset({"NodeLost", "NodeShutdown", "Shutdown", "Terminated", "Preempting"})
"""Reasons of a pod's end where its node, or somebody more important, needed it gone. ``Evicted`` is not among them:
pressure on a node shows as ``DisruptionTarget``, and without that the pod broke its own limit, as it would again."""
_SAID_AS_IT_IS: Final = frozenset({"Completed", "Error", "ContainerStatusUnknown"})
"""Reasons of a container's end that say no more than its exit code does."""


class PodPhase(Enum):
    """Where one pod is."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a pod ended."""

    pod: str
    index: int
    """Completion index; 0 where there are none."""
    exit_code: int | None
    """None when no container of it ever ended: it was evicted, rejected, or its node is gone."""
    finished_at: float
    """Unix seconds by the cluster's clock."""
    reason: str | None
    """For people."""
    disrupted: bool
    """The cluster took it away: a drain, a preemption, a node that is gone."""
    taken_down: bool = False
    """Somebody deleted it: its Job's controller, when the Job was over otherwise, or a person."""
    cause: RunCause | None = None


def owner_uid(pod: Mapping[str, Any]) -> str | None:
    """Uid of the Job that made a pod."""
    labels = pod["metadata"].get("labels") or {}
    return labels.get(CONTROLLER_UID)


def index_of(pod: Mapping[str, Any]) -> int:
    """Completion index of a pod, 0 where its Job has none."""
    annotations = pod["metadata"].get("annotations") or {}
    given = str(annotations.get(INDEX, ""))
    return int(given) if given.isdecimal() else 0


def phase_of(pod: Mapping[str, Any]) -> PodPhase:
    """Where a pod is. One whose node is gone runs as far as anybody knows."""
    match _status(pod).get("phase"):
        case "Succeeded" | "Failed":
            return PodPhase.ENDED
        case "Running" | "Unknown":
            return PodPhase.RUNNING
    return PodPhase.WAITING


def waiting_since(pod: Mapping[str, Any]) -> float | None:
    """Unix seconds, by the API server's clock, since which a pod waits."""
    return moment(pod["metadata"].get("creationTimestamp"))


def ending_since(pod: Mapping[str, Any]) -> float | None:
    """Unix seconds, by the API server's clock, at which the grace of a deleted pod is over."""
    return moment(pod["metadata"].get("deletionTimestamp"))


def why_waiting(pod: Mapping[str, Any]) -> tuple[str, RunCause | None]:
    """In the scheduler's or the kubelet's own words."""
    waiting = (_container(pod).get("state") or {}).get("waiting") or {}
    if waiting.get("reason") and waiting["reason"] not in {"ContainerCreating", "PodInitializing"}:
        cause = RunCause.IMAGE_PULL_FAILED if waiting["reason"] in _NO_IMAGE else None
        return _words(waiting["reason"], waiting.get("message")), cause
    unscheduled = _condition(pod, "PodScheduled")
    if unscheduled.get("status") == "False":
        return _words(unscheduled.get("reason"), unscheduled.get("message")), RunCause.UNSCHEDULABLE
    if unscheduled.get("status") == "True":
        return "its container is being prepared", None
    return "waiting for the scheduler", None


def why_running_is_doubtful(pod: Mapping[str, Any]) -> str | None:
    """That the node of a running pod is not heard of, if so."""
    if _status(pod).get("phase") == "Unknown" or _status(pod).get("reason") == "NodeLost":
        return "its node does not answer"
    ready = _condition(pod, "Ready")
    if ready.get("status") == "False" and ready.get("reason") == "NodeNotReady":
        return "its node does not answer"
    return "it is being stopped" if pod["metadata"].get("deletionTimestamp") else None


def is_disrupted(pod: Mapping[str, Any]) -> bool:
    """Whether the cluster took the pod away."""
    return _condition(pod, "DisruptionTarget").get("status") == "True"


def ending_of(pod: Mapping[str, Any]) -> Ending | None:
    """How a pod ended; None when its container has not, as far as its status says."""
    terminated = (_container(pod).get("state") or {}).get("terminated")
    if terminated is None and phase_of(pod) is not PodPhase.ENDED:
        return None
    terminated = terminated or {}
    return Ending(
        pod=pod["metadata"]["name"],
        index=index_of(pod),
        exit_code=_exit_code(terminated),
        finished_at=moment(terminated.get("finishedAt")) or 0.0,
        reason=_why_ended(pod, terminated),
        disrupted=is_disrupted(pod),
        taken_down=pod["metadata"].get("deletionTimestamp") is not None,
        cause=_cause(pod, terminated),
    )


def _cause(pod: Mapping[str, Any], terminated: Mapping[str, Any]) -> RunCause | None:
    if terminated.get("reason") == _OUT_OF_MEMORY:
        return RunCause.OUT_OF_MEMORY
    went = is_disrupted(pod) or _status(pod).get("reason") in _NODE_WENT
    return RunCause.EVICTED if went else None


def _exit_code(terminated: Mapping[str, Any]) -> int | None:
    # The kubelet reports 137 of a container that it knows nothing of any more: that is no exit code.
    if terminated.get("reason") == "ContainerStatusUnknown":
        return None
    code = terminated.get("exitCode")
    return code if isinstance(code, int) else None


def _why_ended(pod: Mapping[str, Any], terminated: Mapping[str, Any]) -> str | None:
    if terminated.get("reason") == _OUT_OF_MEMORY:
        return f"{_OUT_OF_MEMORY}: it needed more memory than its limit"
    disruption = _condition(pod, "DisruptionTarget")
    if disruption.get("status") == "True":
        return _words(disruption.get("reason"), disruption.get("message"))
    status = _status(pod)
    if status.get("reason"):
        return _words(status["reason"], status.get("message"))
    if terminated.get("reason") and terminated["reason"] not in _SAID_AS_IT_IS:
        return _words(terminated["reason"], terminated.get("message"))
    return None


def _status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return pod.get("status") or {}


def _container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((each for each in _containers(pod) if each.get("name") == CONTAINER), {})


def _containers(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from _status(pod).get("containerStatuses") or ()


def _condition(pod: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((each for each in _status(pod).get("conditions") or () if each.get("type") == kind), {})


def _words(reason: str | None, message: str | None) -> str:
    """One line of bounded length."""
    said = ": ".join(" ".join(part.split()) for part in (reason, message) if part)
    return said if len(said) <= LONGEST_REASON else said[: LONGEST_REASON - 1] + "…"
