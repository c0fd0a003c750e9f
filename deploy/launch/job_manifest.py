"""The ``batch/v1`` Job of one attempt, and the headless Service by which the nodes of a large one meet.

Only ids, hashes and numbers that were checked here reach a manifest: no text of a user's does. Covers what the pod
may do by itself; does not cover whom it can talk to (NetworkPolicies) nor who may create it (RBAC).

Which failure is retried by whom. Exactly one of the two tries again, never both:

- A pod that the cluster takes away (``DisruptionTarget``: drain, preemption, node pressure, a lost node) says nothing
  about the attempt. The Job's controller replaces it (``Ignore``), with the same spec and the same fencing token; the
  new pod goes on from the newest checkpoint in the store.
- Every other end is the reconciler's to judge, which counts, waits, writes a spec of its own for the next attempt and
  thereby fences this one off. So ``backoffLimit`` is 0: with 2, a broken job would run three times in each of three
  attempts, and the pods of one attempt would race for what only an attempt number keeps apart.
- On several nodes a pod that is taken away breaks the process group of all others, which a replacement could not
  join: there a disruption fails the Job at once and the reconciler starts the next attempt from the checkpoint.
"""

import re
from typing import Any
from typing import Final

from deploy.contract import layout
from deploy.contract.exit_codes import ExitCode
from deploy.contract.exit_codes import is_users
from deploy.kubernetes.broker_access import access_mounts
from deploy.kubernetes.broker_access import access_variables
from deploy.kubernetes.broker_access import access_volumes
from deploy.kubernetes.client import Object
from deploy.kubernetes.kinds import JOBS
from deploy.kubernetes.kinds import SERVICES
from deploy.kubernetes.labels import labels
from deploy.kubernetes.pods import container_security
from deploy.kubernetes.pods import placement_fields
from deploy.kubernetes.pods import pod_security
from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.settings import RunSettings
from deploy.launch.job_state import DEADLINE
from deploy.launch.pod_state import CONTAINER
from deploy.launch.protocol import MODULES
from deploy.launch.protocol import Launch
from deploy.launch.protocol import LaunchError

QUEUE: Final = "kueue.x-k8s.io/queue-name"
RENDEZVOUS_PORT: Final = 29400
FINAL_CODES: Final = tuple(code for code in range(1, 256) if is_users(code) or code == ExitCode.SUPERSEDED)
"""Exit codes after which nobody tries again."""
SCRATCH_DIRECTORY: Final = "/scratch"
TMP_SIZE: Final = "1Gi"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_URI: Final = re.compile(r"[a-z0-9]{1,16}://[A-Za-z0-9._~/%+@:=-]{1,900}")
_CORES: Final = re.compile(r"([0-9]+)(?:\.[0-9]+)?(m?)")


def job_manifest(order: Launch, settings: ClusterSettings) -> Object:
    """The Job of an order.

    Raises:
        LaunchError: the order asks for what this cluster does not give, or is none that a service of ours writes.
    """
    check_order(order, settings)
    metadata: Object = {
        "name": order.name,
        "namespace": settings.jobs.namespace,
        "labels": labels(settings.release, order.kind),
        "annotations": {DEADLINE: str(order.deadline_s)},
    }
    queue = order.queue or settings.jobs.queue
    if queue is not None:
        metadata["labels"][QUEUE] = queue
    spec: Object = {
        "suspend": queue is not None,  # Kueue lets it go on; without Kueue it would never start
        "parallelism": order.resources.nodes,
        "completions": order.resources.nodes,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules(order.resources.nodes)},
        "activeDeadlineSeconds": order.deadline_s,
        "ttlSecondsAfterFinished": settings.jobs.ttl_s,
        "template": {"metadata": _pod_metadata(order, settings), "spec": _pod_spec(order, settings)},
    }
    if order.resources.nodes > 1:
        spec["completionMode"] = "Indexed"
        # Node 0 writes the result: when it is done, the job is.
        spec["successPolicy"] = {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}
    return JOBS.manifest(metadata=metadata, spec=spec)


def service_manifest(job: Object, settings: ClusterSettings) -> Object:
    """The headless Service of a Job on several nodes; it goes when the Job goes."""
    name, component = job["metadata"]["name"], job["metadata"]["labels"]["app.kubernetes.io/component"]
    return SERVICES.manifest(
        metadata={
            "name": name,
            "namespace": settings.jobs.namespace,
            "labels": labels(settings.release, component),
            "ownerReferences": [{**JOBS.reference(name), "uid": job["metadata"]["uid"]}],
        },
        spec={
            "clusterIP": "None",
            # The nodes look for each other before any of them is ready.
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": name},
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT}],
        },
    )


def check_order(order: Launch, settings: ClusterSettings) -> None:
    """Refuse what must not, or cannot, be run here.

    Raises:
        LaunchError: naming what is wrong.
    """
    identity = layout.job_of_name(order.name)
    if identity is None or layout.is_scan(order.name) != (order.kind == "scan"):
        raise LaunchError(f"{order.name!r} is not the name of a {order.kind}'s attempt")
    if not _SHA256.fullmatch(order.spec_sha256):
        raise LaunchError(f"{order.name}: spec_sha256 is not a SHA-256")
    if not _URI.fullmatch(order.spec_uri) or not order.spec_uri.endswith("/" + layout.spec_key(*identity)):
        raise LaunchError(f"{order.name}: spec_uri is not that of the attempt's spec")
    if order.deadline_s < 1:
        raise LaunchError(f"{order.name}: a deadline of {order.deadline_s} s")
    _check_gpus(order, settings)
    _check_queue(order, settings)


def _check_gpus(order: Launch, settings: ClusterSettings) -> None:
    run = _run_settings(order, settings)
    each = _gpus(order, run)
    if each * order.resources.nodes > run.max_gpus:
        asked = f"{order.resources.nodes} x {each}" if order.resources.nodes > 1 else str(each)
        raise LaunchError(f"{order.name}: resources.gpus: {asked} are more than max_gpus, {run.max_gpus}")
    if order.resources.gpu_type is not None and each == 0:
        raise LaunchError(f"{order.name}: resources.gpu_type: a job without GPUs cannot choose their type")
    if order.resources.nodes > 1 and order.kind == "scan":
        raise LaunchError(f"{order.name}: resources.nodes: a scan runs on one node")


def _check_queue(order: Launch, settings: ClusterSettings) -> None:
    jobs = settings.jobs
    allowed = {*jobs.queues, jobs.queue} if jobs.queue is not None else set()
    if order.queue is not None and order.queue not in allowed:
        raise LaunchError(f"{order.name}: queue: {order.queue!r} is not one that jobs may name here")


def _run_settings(order: Launch, settings: ClusterSettings) -> RunSettings:
    return settings.jobs.scan if order.kind == "scan" else settings.jobs.job


def _gpus(order: Launch, run: RunSettings) -> int:
    return run.gpus if order.resources.gpus is None else order.resources.gpus


def _failure_rules(nodes: int) -> list[Object]:
    """The first rule that matches decides."""
    disruption = [{"type": "DisruptionTarget", "status": "True"}]
    return [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(FINAL_CODES)},
        },
        {"action": "Ignore" if nodes == 1 else "FailJob", "onPodConditions": disruption},
        {
            "action": "Count",
            "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": list(FINAL_CODES)},
        },
    ]


def _pod_metadata(order: Launch, settings: ClusterSettings) -> Object:
    return {
        "labels": labels(settings.release, order.kind),
        "annotations": {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            "karpenter.sh/do-not-disrupt": "true",
        },
    }


def _pod_spec(order: Launch, settings: ClusterSettings) -> Object:
    jobs, run = settings.jobs, _run_settings(order, settings)
    spec: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": jobs.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": jobs.grace_s,
        "securityContext": pod_security(),
        "containers": [_container(order, settings)],
        "volumes": _volumes(run, settings),
        **placement_fields(run.placement, settings, gpu_type=order.resources.gpu_type),
    }
    if jobs.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in jobs.image_pull_secrets]
    if order.resources.nodes > 1:
        spec["subdomain"] = order.name
    return spec


def _container(order: Launch, settings: ClusterSettings) -> Object:
    jobs = settings.jobs
    mounts: list[Object] = [
        *access_mounts(settings),
        {"name": "scratch", "mountPath": SCRATCH_DIRECTORY},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # the pod's own, in memory of nobody else
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  # likewise
    ]
    return {
        "name": CONTAINER,
        "image": jobs.image,
        "imagePullPolicy": jobs.image_pull_policy,
        "command": ["python", "-m", MODULES[order.kind]],
        "args": ["--spec", order.spec_uri, "--sha256", order.spec_sha256],
        "env": _environment(order, settings),
        "resources": _resources(order, settings),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
    }


def _resources(order: Launch, settings: ClusterSettings) -> Object:
    run = _run_settings(order, settings)
    asked = order.resources
    memory = run.memory if asked.memory_gib is None else f"{asked.memory_gib}Gi"
    requests: Object = {"cpu": _cpu(order, run), "memory": memory}
    # Processors beyond the request may be used while nobody needs them; memory cannot be taken back.
    limits: Object = {"memory": memory}
    if run.scratch_class is None:
        requests["ephemeral-storage"] = run.scratch
    if gpus := _gpus(order, run):
        requests[settings.gpu.resource] = limits[settings.gpu.resource] = str(gpus)
    return {"requests": requests, "limits": limits}


def _cpu(order: Launch, run: RunSettings) -> str:
    return run.cpu if order.resources.cpus is None else str(order.resources.cpus)


def _threads(order: Launch, run: RunSettings) -> int:
    """Of each process: without a limit on processors a library would take all of the node's for its own."""
    cores = _CORES.match(_cpu(order, run))
    whole = 1 if cores is None or cores[2] else int(cores[1])
    return max(1, whole // max(1, _gpus(order, run)))


def _environment(order: Launch, settings: ClusterSettings) -> list[Object]:
    run, nodes = _run_settings(order, settings), order.resources.nodes
    values = {
        **settings.jobs.environment,
        **access_variables(settings),
        "TEMPER_SCRATCH": SCRATCH_DIRECTORY,
        "TEMPER_GPUS": str(_gpus(order, run)),
        "TEMPER_NODES": str(nodes),
        "TMPDIR": SCRATCH_DIRECTORY,
        "HOME": SCRATCH_DIRECTORY,  # caches of compilers and engines go there
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(_threads(order, run)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
    }
    read: dict[str, str] = {"TEMPER_POD": "metadata.uid"}
    if nodes > 1:
        host = f"{order.name}-0.{order.name}.{settings.jobs.namespace}.svc"
        values["TEMPER_RENDEZVOUS"] = f"{host}:{RENDEZVOUS_PORT}"
        read["TEMPER_NODE_RANK"] = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    for name in read:
        values.pop(name, None)
    return [
        *({"name": name, "value": value} for name, value in sorted(values.items())),
        *(
            {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
            for name, path in sorted(read.items())
        ),
    ]


def _volumes(run: RunSettings, settings: ClusterSettings) -> list[Object]:
    return [
        *access_volumes(settings),
        {"name": "scratch", **_scratch(run)},
        {"name": "tmp", "emptyDir": {"sizeLimit": TMP_SIZE}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": run.shm}},
    ]


def _scratch(run: RunSettings) -> dict[str, Any]:
    if run.scratch_class is None:
        return {"emptyDir": {"sizeLimit": run.scratch}}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": run.scratch_class,
        "resources": {"requests": {"storage": run.scratch}},
    }
    return {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}
