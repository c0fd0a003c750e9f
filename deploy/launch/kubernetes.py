"""Attempts as ``batch/v1`` Jobs of a cluster.

What is known of them comes from watched Jobs and Pods, never from a request for each. A Job's name says which attempt it is, so creating one that exists already means that it was launched before. How one
ends is read from its own conditions and from its pods' exit codes: see :mod:`deploy.launch.job_state`.
"""

import logging
import math
import threading
from collections import OrderedDict
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Final

from deploy.contract import layout
from deploy.kubernetes.client import KubernetesClient
from deploy.kubernetes.client import Object
from deploy.kubernetes.errors import KubernetesError
from deploy.kubernetes.errors import ObjectExists
from deploy.kubernetes.errors import ObjectGone
from deploy.kubernetes.kept import kept_metadata
from deploy.kubernetes.kept import without_spec
from deploy.kubernetes.kinds import JOBS
from deploy.kubernetes.kinds import PODS
from deploy.kubernetes.kinds import SERVICES
from deploy.kubernetes.labels import selector
from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.watched import WatchedObjects
from deploy.launch.job_manifest import job_manifest
from deploy.launch.job_manifest import service_manifest
from deploy.launch.job_state import STOPPED
from deploy.launch.job_state import Attempt
from deploy.launch.job_state import is_finished
from deploy.launch.job_state import is_stopped
from deploy.launch.job_state import nodes_of
from deploy.launch.job_state import run_of
from deploy.launch.kueue import KueueQueues
from deploy.launch.pod_endings import PodEndings
from deploy.launch.pod_state import CONTAINER
from deploy.launch.pod_state import PodPhase
from deploy.launch.pod_state import ending_of
from deploy.launch.pod_state import index_of
from deploy.launch.pod_state import owner_uid
from deploy.launch.pod_state import phase_of
from deploy.launch.protocol import Launch
from deploy.launch.protocol import LaunchError
from deploy.launch.protocol import Run
from deploy.process.log import TAIL_BYTES
from deploy.process.log import show_tail

logger = logging.getLogger(__name__)
KEPT_LOGS: Final = 64
"""Logs of runs that were stopped, until they are removed: 4 MiB at most."""
KEPT_LINES: Final = 5000
WATCH_LAG_S: Final = 2.0
"""How far a watch may trail what has happened while it says something else."""


class KubernetesLauncher:
    """Implements :class:`deploy.launch.protocol.Launcher` in one namespace of a cluster.

    Args:
        client: may create, read, patch and delete jobs, read and delete pods, read their logs, and
            create and get services.
        settings: the operator's.
    """

    def __init__(self, client: KubernetesClient, settings: ClusterSettings) -> None:
        self._client = client
        self._settings = settings
        self._namespace = settings.jobs.namespace
        self._endings = PodEndings()
        ours = selector(settings.release, "job", "scan")
        self._jobs = WatchedObjects(client, JOBS, self._namespace, selector=ours, keep=_without_template)
        self._pods = WatchedObjects(
            client,
            PODS,
            self._namespace,
            selector=ours,
            keep=without_spec,
            gone=self._endings.pod_is_gone,
        )
        queued = settings.jobs.queue is not None
        self._queues = KueueQueues(client, self._namespace) if queued else None
        self._lock = threading.Lock()
        self._removed: set[str] = set()
        self._met: set[str] = set()
        self._podless_since: dict[str, float] = {}
        self._observed_at = -math.inf
        self._logs: OrderedDict[str, str] = OrderedDict()

    def launch(self, order: Launch) -> None:
        """Create an attempt's Job; one of this name, in whatever state, is left alone.

        Raises:
            LaunchError: the order is refused, by us or by the cluster, or the cluster cannot be reached.
        """
        manifest = job_manifest(order, self._settings)
        with _launch_errors(f"cannot launch {order.name}"):
            try:
                job = self._client.create(JOBS, self._namespace, manifest)
            except ObjectExists:
                return  # launched before, by us or by one who died before hearing of it
            self._jobs.note(job)
            if order.resources.nodes > 1:
                self._let_nodes_meet(job)

    def observe(self) -> Mapping[str, Run]:
        """Every attempt by name, until it is removed.

        Raises:
            LaunchError: nothing recent is known of the cluster.
        """
        with _launch_errors("cannot observe"):
            heard_at = self._jobs.heard_at  # before the picture, which is at least as young
            jobs = self._jobs.snapshot()
            if heard_at is not None:
                self._observed_at = heard_at - WATCH_LAG_S
            pods = self._pods_by_job()
        self._tidy({job["metadata"]["uid"] for job in jobs.values()})
        reasons = self._queues.reasons() if self._queues is not None else {}
        runs: dict[str, Run] = {}
        for name, job in jobs.items():
            uid = job["metadata"]["uid"]
            if layout.job_of_name(name) is None or uid in self._removed:
                continue
            self._finish_launch(job)
            attempt = self._attempt(job, pods.get(uid, ()), reasons.get(uid))
            runs[name] = run_of(
                attempt,
                now=self._client.server_now(),
                pending_timeout_s=self._settings.jobs.pending_timeout_s,
            )
        return runs

    @property
    def observed_at(self) -> float:
        """``time.monotonic()`` of what the newest answer of :meth:`observe` shows."""
        return self._observed_at

    def stop(self, name: str, *, grace_s: float) -> None:
        """SIGTERM to its pods, SIGKILL after ``grace_s``; one that waits never starts. Returns at once.

        The Job stays, failed, until it is removed. Its pods are told first: the Job's controller would tell
        them with the grace of the operator's settings, and the kubelet goes by what it heard first. Then a deadline
        of one second ends the Job wherever it is, so that no pod follows. A crash in between leaves a Job whose pods
        have failed, which is an end too.

        Raises:
            LaunchError: the cluster cannot be reached.
        """
        with _launch_errors(f"cannot stop {name}"):
            job = self._jobs.snapshot().get(name)
            if job is None or is_finished(job):
                return
            uid = job["metadata"]["uid"]
            pods = [pod for pod in self._pods_by_job().get(uid, []) if phase_of(pod) is not PodPhase.ENDED]
            self._keep_log(name, pods)
            for pod in pods:
                self._delete_pod(pod, grace_s)
            told = {
                "metadata": {"uid": uid, "annotations": {STOPPED: "true"}},
                "spec": {"activeDeadlineSeconds": 1},
            }
            try:
                self._jobs.note(self._client.patch(JOBS, self._namespace, name, told))
            except ObjectGone:
                return

    def remove(self, name: str) -> None:
        """Delete an attempt's Job with its pods; those that still run are stopped by that.

        The name is free again when the last pod is gone, so that no two Jobs of one name ever run at a time.

        Raises:
            LaunchError: the cluster cannot be reached.
        """
        with _launch_errors(f"cannot remove {name}"):
            job = self._jobs.snapshot().get(name)
            uid = None if job is None else job["metadata"]["uid"]
            self._client.delete(JOBS, self._namespace, name, propagation="Foreground", uid=uid)
        with self._lock:
            self._logs.pop(name, None)
            if uid is not None:
                self._removed.add(uid)

    def log_tail(self, name: str, *, lines: int = 50) -> str:
        """The last lines of its output, control characters escaped; empty when there is none to be had.

        Of several nodes the first one's, which runs the job. What a pod of a stopped run said last may be missing:
        it goes when it has ended.
        """
        try:
            job = self._jobs.snapshot().get(name)
            pods = [] if job is None else self._pods_by_job().get(job["metadata"]["uid"], [])
        except KubernetesError:
            pods = []
        said = self._read_log(pods, lines)
        with self._lock:
            kept = self._logs.get(name, "")
        return said or "\n".join(kept.split("\n")[-lines:])

    def close(self) -> None:
        """Stop watching. The Jobs go on."""
        for watched in (self._jobs, self._pods, self._queues):
            if watched is not None:
                watched.close()

    # ---- what is seen -----------------------------------------------------------------------

    def _pods_by_job(self) -> dict[str, list[Object]]:
        found: defaultdict[str, list[Object]] = defaultdict(list)
        for pod in self._pods.snapshot().values():
            owner = owner_uid(pod)
            if owner is not None:
                found[owner].append(pod)
        return found

    def _attempt(self, job: Object, pods: Iterable[Object], queue_reason: str | None) -> Attempt:
        uid, pods = job["metadata"]["uid"], tuple(pods)
        if job["spec"].get("suspend"):
            self._endings.forget(uid)
        present = {ending.pod: ending for ending in map(ending_of, pods) if ending is not None}
        gone = {ending.pod: ending for ending in self._endings.of(uid)}
        if pods or job["spec"].get("suspend"):
            self._podless_since.pop(uid, None)
        else:
            self._podless_since.setdefault(uid, self._client.server_now())
        return Attempt(
            name=job["metadata"]["name"],
            job=job,
            pods=pods,
            endings=tuple({**gone, **present}.values()),
            podless_since=self._podless_since.get(uid),
            queue_reason=queue_reason,
        )

    def _tidy(self, job_uids: set[str]) -> None:
        """What belongs to Jobs that are gone is kept no longer."""
        with self._lock:
            self._removed &= job_uids
            self._met &= job_uids
        self._podless_since = {uid: at for uid, at in self._podless_since.items() if uid in job_uids}
        self._endings.keep_only(job_uids)

    # ---- several nodes ----------------------------------------------------------------------

    def _finish_launch(self, job: Object) -> None:
        """Make up for a crash between a Job and its Service: its nodes would wait for each other in vain."""
        wanted = nodes_of(job) > 1 and not is_finished(job) and not is_stopped(job)
        if not wanted or job["metadata"]["uid"] in self._met:
            return
        try:
            self._let_nodes_meet(job)
        except KubernetesError as error:
            logger.warning("cannot create the Service of %s: %s", job["metadata"]["name"], error)

    def _let_nodes_meet(self, job: Object) -> None:
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        try:
            self._client.create(SERVICES, self._namespace, service_manifest(job, self._settings))
        except ObjectExists:
            owners = (
                self._client.get(SERVICES, self._namespace, name)["metadata"].get("ownerReferences") or ()
            )
            if uid not in {owner.get("uid") for owner in owners}:
                return  # of a deleted Job of this name: it goes away, and the next look makes another
        self._met.add(uid)

    # ---- pods -------------------------------------------------------------------------------

    def _delete_pod(self, pod: Object, grace_s: float) -> None:
        metadata = pod["metadata"]
        # 0 would take the pod off the books while it may still run.
        grace = max(1, math.ceil(grace_s))
        self._client.delete(PODS, self._namespace, metadata["name"], grace_s=grace, uid=metadata.get("uid"))

    def _keep_log(self, name: str, pods: Iterable[Object]) -> None:
        tail = self._read_log(pods, KEPT_LINES)
        if not tail:
            return
        with self._lock:
            self._logs[name] = tail
            while len(self._logs) > KEPT_LOGS:
                self._logs.popitem(last=False)

    def _read_log(self, pods: Iterable[Object], lines: int) -> str:
        """Of the pod that started last, of the first node; empty when its kubelet does not tell."""
        started = [pod for pod in pods if phase_of(pod) is not PodPhase.WAITING and index_of(pod) == 0]
        started.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)
        for pod in started:
            try:
                data = self._client.log(
                    self._namespace,
                    pod["metadata"]["name"],
                    container=CONTAINER,
                    lines=lines,
                    limit_bytes=TAIL_BYTES,
                )
            except KubernetesError as error:
                # A node that is gone answers never: its run must end all the same.
                logger.warning("no log of %s: %s", pod["metadata"]["name"], error)
                continue
            if data:
                return show_tail(data, lines=lines)
        return ""


def _without_template(job: Object) -> Object:
    """What is looked at of a Job."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    return {
        "metadata": kept_metadata(job),
        "spec": {key: spec[key] for key in ("parallelism", "suspend") if key in spec},
        "status": {"conditions": status.get("conditions") or []},
    }


@contextmanager
def _launch_errors(what: str) -> Iterator[None]:
    try:
        yield
    except KubernetesError as error:
        raise LaunchError(f"{what}: {error}") from error
