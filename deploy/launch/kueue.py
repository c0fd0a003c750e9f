"""Why a Job waits, and where, as far as Kueue says it. Best effort: without Kueue, or leave to read, nothing is said."""

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Final

from deploy.kubernetes.client import KubernetesClient
from deploy.kubernetes.client import Object
from deploy.kubernetes.client import moment
from deploy.kubernetes.errors import KubernetesError
from deploy.kubernetes.kinds import WORKLOADS
from deploy.kubernetes.watched import WatchedObjects

LONGEST_WAIT_S: Final = 600.0
"""Between two looks whether there is such a kind by now."""
LONGEST_REASON: Final = 400


class KueueQueues:
    """The LocalQueues of one namespace. All Workloads are watched: others may stand before ours."""

    def __init__(self, client: KubernetesClient, namespace: str) -> None:
        self._workloads = WatchedObjects(
            client,
            WORKLOADS,
            namespace,
            selector="",
            keep=_without_pod_sets,
            longest_wait_s=LONGEST_WAIT_S,
        )

    def reasons(self) -> Mapping[str, str]:
        """Why the Jobs of these uids wait."""
        try:
            workloads = list(self._workloads.snapshot(wait_s=0).values())
        except KubernetesError:
            return {}
        return why_they_wait(workloads)

    def close(self) -> None:
        """Stop watching."""
        self._workloads.close()


def why_they_wait(workloads: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """By the uid of the Job that each Workload stands for.

    A place counts the Workloads of the same LocalQueue in Kueue's order: higher priority, then older.
    """
    reasons: dict[str, str] = {}
    places: dict[str, int] = {}
    for workload in sorted((each for each in workloads if _is_waiting(each)), key=_turn):
        queue = str(workload["spec"].get("queueName", ""))
        places[queue] = places.get(queue, 0) + 1
        said = _words(workload)
        for owner in workload["metadata"].get("ownerReferences") or ():
            place = f"number {places[queue]} in queue {queue}"
            reasons[str(owner.get("uid"))] = f"{place}: {said}" if said else place
    return reasons


def _is_waiting(workload: Mapping[str, Any]) -> bool:
    return _holds(workload, "Admitted") is None and _holds(workload, "Finished") is None


def _turn(workload: Mapping[str, Any]) -> tuple[int, float, str]:
    metadata = workload["metadata"]
    since = moment(metadata.get("creationTimestamp")) or 0.0
    return -int(workload["spec"].get("priority") or 0), since, str(metadata.get("uid"))


def _words(workload: Mapping[str, Any]) -> str | None:
    """The message of the condition that explains most."""
    if workload["spec"].get("active") is False:
        return "deactivated by an administrator or by Kueue"
    conditions = {each.get("type"): each for each in (workload.get("status") or {}).get("conditions") or ()}
    for kind in ("QuotaReserved", "Evicted", "Admitted"):
        message = (conditions.get(kind) or {}).get("message")
        if message:
            return " ".join(str(message).split())[:LONGEST_REASON]
    return None


def _holds(workload: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    conditions = (workload.get("status") or {}).get("conditions") or ()
    return next(
        (each for each in conditions if each.get("type") == kind and each.get("status") == "True"), None
    )


def _without_pod_sets(workload: Object) -> Object:
    """A Workload repeats the whole pod template."""
    spec = workload.get("spec") or {}
    metadata = workload["metadata"]
    kept = ("name", "uid", "resourceVersion", "creationTimestamp", "ownerReferences")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {key: spec[key] for key in ("queueName", "priority", "active") if key in spec},
        "status": {"conditions": (workload.get("status") or {}).get("conditions") or []},
    }
