"""What a Deployment and its pods say of an endpoint: whether it answers, and why it does not, in words for people.

Pure: objects in, a :class:`deploy.endpoint.protocol.Server` out. Some troubles pass by themselves (no room on any
node, a registry that does not answer, a store that is away) and are told while the endpoint starts, until its time
is over. Others never do (weights that were changed, a model that vLLM cannot run) and fail it at once.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Final

from deploy.contract.exit_codes import is_users
from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server
from deploy.endpoint.serving_manifest import replicas_of
from deploy.endpoint.serving_pod import FETCH
from deploy.endpoint.serving_pod import VLLM
from deploy.kubernetes.client import Object
from deploy.kubernetes.client import moment
from deploy.kubernetes.kept import without_spec
from deploy.process.log import show_tail

CRASHES: Final = 2
"""After so many restarts a server that never ran for long is given up: the next start would end as they did."""
LONG_RUN_S: Final = 600.0
"""The kubelet forgets its restarts of a container that ran this long; so do we."""
REASON_LINES: Final = 30
LONGEST_REASON: Final = 500
NEVER_PULLED: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})
UNINTERESTING: Final = frozenset({"PodInitializing", "ContainerCreating", "CrashLoopBackOff"})
"""Reasons to wait that say nothing by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a replica does not answer."""

    reason: str
    final: bool = False
    """Waiting will not help."""


def without_template(deployment: Object) -> Object:
    """What is looked at of a Deployment."""
    spec = {"replicas": (deployment.get("spec") or {}).get("replicas")}
    return {**without_spec(deployment), "spec": spec}


def server_of(
    deployment: Object,
    pods: Iterable[Object],
    *,
    base_url: str,
    timeout_s: float,
    unready_s: float,
    current: bool,
) -> Server:
    """What is known of an endpoint.

    Args:
        deployment: as it was seen last.
        pods: its.
        base_url: of its Service.
        timeout_s: which a start may take.
        unready_s: since when no replica has answered, as far as the observer knows.
        current: nothing of it is missing, and it was made by today's settings.
    """
    name = deployment["metadata"]["name"]
    ready = int((deployment.get("status") or {}).get("readyReplicas") or 0)
    replicas = replicas_of(deployment)
    if deployment["metadata"].get("deletionTimestamp"):
        return Server(name=name, phase=ServePhase.STARTING, reason="it is being removed", ready_replicas=0)
    trouble = _worst([*_troubles_of(deployment), *_troubles_of_pods(pods)])
    reason = trouble.reason if trouble is not None else None
    if ready:
        return Server(
            name=name,
            phase=ServePhase.READY,
            base_url=base_url,
            reason=reason,
            ready_replicas=ready,
            replicas=replicas,
            current=current,
        )
    if trouble is not None and trouble.final:
        return Server(name=name, phase=ServePhase.FAILED, reason=reason, ready_replicas=0)
    if unready_s > timeout_s or _is_too_late(deployment):
        late = f"not ready after {timeout_s:g} s: {reason or 'it was still loading'}"
        return Server(name=name, phase=ServePhase.FAILED, reason=late, ready_replicas=0)
    return Server(
        name=name,
        phase=ServePhase.STARTING,
        reason=reason,
        ready_replicas=0,
        replicas=replicas,
        current=current,
    )


def _is_too_late(deployment: Object) -> bool:
    """Whether the Deployment's controller has given its rollout up, and not that of an older version."""
    status = deployment.get("status") or {}
    if (status.get("observedGeneration") or 0) < (deployment["metadata"].get("generation") or 0):
        return False
    progressing = _condition(deployment, "Progressing")
    return progressing.get("reason") == "ProgressDeadlineExceeded"


def _worst(troubles: list[Trouble]) -> Trouble | None:
    return next((trouble for trouble in troubles if trouble.final), troubles[0] if troubles else None)


def _troubles_of(deployment: Object) -> Iterator[Trouble]:
    failure = _condition(deployment, "ReplicaFailure")
    if failure.get("status") == "True":  # a quota, or an admission policy
        yield Trouble(reason=_words(failure.get("reason"), failure.get("message")))


def _troubles_of_pods(pods: Iterable[Object]) -> Iterator[Trouble]:
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    for pod in sorted(living, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True):
        trouble = _of_fetch(pod) or _of_server(pod) or _of_pod(pod)
        if trouble is not None:
            yield trouble


def _of_fetch(pod: Object) -> Trouble | None:
    container = _container(pod, "initContainerStatuses", FETCH)
    ended = _ended(container)
    if ended.get("reason") == "OOMKilled":
        return Trouble(reason="OOMKilled: fetching the weights needed more memory than its limit")
    if ended.get("exitCode"):
        said = _last_line(ended.get("message")) or f"exit code {ended['exitCode']}"
        return Trouble(reason=f"the weights could not be fetched: {said}", final=is_users(ended["exitCode"]))
    return _of_image(container)


def _of_server(pod: Object) -> Trouble | None:
    container = _container(pod, "containerStatuses", VLLM)
    ended, restarts = _ended(container), int(container.get("restartCount") or 0)
    if not ended:
        return _of_image(container)
    loops = restarts >= CRASHES and _ran_s(ended) < LONG_RUN_S
    if ended.get("reason") == "OOMKilled":
        said = "OOMKilled: the server needed more memory than its limit (resources.memory_gib)"
        return Trouble(reason=said, final=loops)
    tail = show_tail(str(ended.get("message") or "").encode(), lines=REASON_LINES)
    said = f"the server ended with exit code {ended.get('exitCode')}, {restarts or 1} times"
    said += f"; the last lines of its log:\n{tail}" if tail else "; it wrote no log"
    return Trouble(reason=said, final=loops)


def _of_image(container: Mapping[str, Any]) -> Trouble | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason")
    if not reason or reason in UNINTERESTING:
        return None
    return Trouble(reason=_words(reason, waiting.get("message")), final=reason in NEVER_PULLED)


def _of_pod(pod: Object) -> Trouble | None:
    status = pod.get("status") or {}
    if status.get("reason"):  # evicted, or refused by the node
        return Trouble(reason=_words(status["reason"], status.get("message")))
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return Trouble(reason=_words(scheduled.get("reason"), scheduled.get("message")))
    return None


def _ended(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a container ended that is not at work now; nothing of one that is."""
    state = container.get("state") or {}
    if "running" in state:
        return {}
    ended: Mapping[str, Any] = (
        state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    )
    return ended


def _ran_s(ended: Mapping[str, Any]) -> float:
    """Both moments are of the node's clock."""
    began, finished = moment(ended.get("startedAt")), moment(ended.get("finishedAt"))
    return finished - began if began is not None and finished is not None else 0.0


def _container(pod: Object, kind: str, name: str) -> Mapping[str, Any]:
    statuses = (pod.get("status") or {}).get(kind) or ()
    return next((each for each in statuses if each.get("name") == name), {})


def _condition(found: Object, kind: str) -> Mapping[str, Any]:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _last_line(message: str | None) -> str:
    lines = [
        line
        for line in show_tail(str(message or "").encode(), lines=REASON_LINES).splitlines()
        if line.strip()
    ]
    return lines[-1][:LONGEST_REASON] if lines else ""


def _words(reason: str | None, message: str | None) -> str:
    """One line of bounded length."""
    said = ": ".join(" ".join(part.split()) for part in (reason, message) if part)
    return said if len(said) <= LONGEST_REASON else said[: LONGEST_REASON - 1] + "…"
