"""The pod of one replica: an init container that fetches and verifies, then upstream's vLLM.

Pod Security "restricted". Neither container has a token of the API server; the init container alone has one that the
broker takes, and what vLLM, which loads a stranger's weights, could read of it is nothing. The root file systems are
read-only: HOME (where vLLM, Triton and torch keep what they compile), ``/tmp`` and ``/dev/shm`` are the pod's own.
"""

import math
from pathlib import Path
from typing import Final

from deploy.endpoint import engine
from deploy.endpoint.fetch import PROBE
from deploy.endpoint.fetch import WEIGHTS
from deploy.endpoint.probe import DRAIN_S
from deploy.endpoint.probe import GENERATION_TIMEOUT_S
from deploy.endpoint.probe import HEALTH_TIMEOUT_S
from deploy.endpoint.probe import SETTLE_S
from deploy.endpoint.protocol import Serve
from deploy.kubernetes.broker_access import access_mounts
from deploy.kubernetes.broker_access import access_variables
from deploy.kubernetes.broker_access import access_volumes
from deploy.kubernetes.client import Object
from deploy.kubernetes.pods import container_security
from deploy.kubernetes.pods import placement_fields
from deploy.kubernetes.pods import pod_security
from deploy.kubernetes.quantity import number_of
from deploy.kubernetes.settings import ClusterSettings

FETCH: Final = "fetch"
VLLM: Final = "vllm"
PORT: Final = 8000
MODEL_DIRECTORY: Final = "/model"
HOME: Final = "/home/temper"
CACHE_SIZE: Final = "20Gi"
TMP_SIZE: Final = "4Gi"
FETCH_REQUESTS: Final = {"cpu": "250m", "memory": "512Mi"}
FETCH_LIMITS: Final = {"memory": "1Gi"}
"""Bytes pass through it in pieces of a mebibyte, however large a model is."""

STARTUP_PERIOD_S: Final = 5
READINESS_PERIOD_S: Final = 10
READINESS_TOKEN_S: Final = 20
READINESS_FAILURES: Final = 3
LIVENESS_PERIOD_S: Final = 30
LIVENESS_TOKEN_S: Final = 60
LIVENESS_FAILURES: Final = 5
"""Killed after five looks of a minute in which not one token came: the proxy has given it up by then as well."""
PROBE_ITSELF_S: Final = math.ceil(3 * HEALTH_TIMEOUT_S) + 5
"""Of a probe, beside the time for its token: health, counters before and after, and the start of Python."""
GRACE_S: Final = math.ceil(SETTLE_S + DRAIN_S) + 30


def pod_spec(order: Serve, settings: ClusterSettings, *, order_uri: str, order_sha256: str) -> Object:
    """The pod's specification."""
    endpoints = settings.endpoints
    spec: Object = {
        "serviceAccountName": endpoints.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": pod_security(),
        "initContainers": [_fetch(settings, order_uri=order_uri, order_sha256=order_sha256)],
        "containers": [_vllm(order, settings)],
        "volumes": _volumes(settings),
        **placement_fields(endpoints.placement, settings, gpu_type=order.resources.gpu_type),
    }
    if endpoints.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in endpoints.image_pull_secrets]
    return spec


def gpus_of(order: Serve, settings: ClusterSettings) -> int:
    """GPUs of one replica."""
    return settings.endpoints.gpus if order.resources.gpus is None else order.resources.gpus


def _fetch(settings: ClusterSettings, *, order_uri: str, order_sha256: str) -> Object:
    values = {
        **access_variables(settings),
        "HOME": "/tmp",  # noqa: S108 - the pod's own
        "PYTHONUNBUFFERED": "1",
    }
    mounts = [
        *access_mounts(settings),
        {"name": "model", "mountPath": MODEL_DIRECTORY},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - likewise
    ]
    pod_uid = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}
    return {
        "name": FETCH,
        "image": settings.endpoints.fetch_image,
        "imagePullPolicy": settings.endpoints.image_pull_policy,
        "command": ["python", "-m", "deploy.endpoint.fetch"],
        "args": ["--order", order_uri, "--sha256", order_sha256, "--directory", MODEL_DIRECTORY],
        "env": [*_variables(values), {"name": "TEMPER_POD", "valueFrom": pod_uid}],
        "resources": {"requests": dict(FETCH_REQUESTS), "limits": dict(FETCH_LIMITS)},
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
    }


def _vllm(order: Serve, settings: ClusterSettings) -> Object:
    endpoints, gpus = settings.endpoints, gpus_of(order, settings)
    argv = engine.command(
        endpoints.command,
        Path(MODEL_DIRECTORY) / WEIGHTS,
        model_id=order.model_id,
        host="0.0.0.0",  # noqa: S104 - of the pod, which NetworkPolicies let nobody but the API reach
        port=PORT,
        max_model_len=order.max_model_len,
        cpu=gpus == 0,
        gpus=gpus,
    )
    return {
        "name": VLLM,
        "image": endpoints.image,
        "imagePullPolicy": endpoints.image_pull_policy,
        "command": list(endpoints.command),
        "args": argv[len(endpoints.command) :],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "env": _variables(_environment(order, settings)),
        "resources": _resources(order, settings),
        "volumeMounts": [
            {"name": "model", "mountPath": MODEL_DIRECTORY, "readOnly": True},
            {"name": "home", "mountPath": HOME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - likewise
        ],
        "startupProbe": _probe(
            "started",
            order.model_id,
            token_s=math.ceil(GENERATION_TIMEOUT_S),
            period_s=STARTUP_PERIOD_S,
            failures=math.ceil(endpoints.start_timeout_s / STARTUP_PERIOD_S),
        ),
        "readinessProbe": _probe(
            "working",
            order.model_id,
            token_s=READINESS_TOKEN_S,
            period_s=READINESS_PERIOD_S,
            failures=READINESS_FAILURES,
        ),
        "livenessProbe": _probe(
            "working",
            order.model_id,
            token_s=LIVENESS_TOKEN_S,
            period_s=LIVENESS_PERIOD_S,
            failures=LIVENESS_FAILURES,
        ),
        "lifecycle": {"preStop": {"exec": {"command": _ask("drain", timeout_s=math.ceil(DRAIN_S))}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
    }


def _probe(mode: str, model_id: str, *, token_s: int, period_s: int, failures: int) -> Object:
    return {
        "exec": {"command": _ask(mode, "--model", model_id, timeout_s=token_s)},
        "periodSeconds": period_s,
        "timeoutSeconds": token_s + PROBE_ITSELF_S,
        "failureThreshold": failures,
    }


def _ask(mode: str, *more: str, timeout_s: int) -> list[str]:
    # -I: whatever lies in the working directory or in variables is not imported.
    program = ["python3", "-I", f"{MODEL_DIRECTORY}/{PROBE}", mode, "--port", str(PORT)]
    return [*program, "--timeout", str(timeout_s), *more]


def _environment(order: Serve, settings: ClusterSettings) -> dict[str, str]:
    gpus = gpus_of(order, settings)
    processors = math.floor(number_of(_cpu(order, settings)))
    wanted = engine.environment(settings.endpoints.environment, cpu=gpus == 0, processors=processors)
    # torch and Triton name their caches by a user whom the image's password file does not know.
    return {**wanted, "HOME": HOME, "USER": "temper", "LOGNAME": "temper", "PYTHONUNBUFFERED": "1"}


def _resources(order: Serve, settings: ClusterSettings) -> Object:
    memory = f"{order.resources.memory_gib}Gi" if order.resources.memory_gib else settings.endpoints.memory
    requests: Object = {
        "cpu": _cpu(order, settings),
        "memory": memory,
        # A node whose disk is too small is not chosen; what it may take is the volumes' own limit.
        "ephemeral-storage": str(sum(file.size_bytes for file in order.files)),
    }
    limits: Object = {"memory": memory}
    if gpus := gpus_of(order, settings):
        requests[settings.gpu.resource] = limits[settings.gpu.resource] = str(gpus)
    return {"requests": requests, "limits": limits}


def _cpu(order: Serve, settings: ClusterSettings) -> str:
    return settings.endpoints.cpu if order.resources.cpus is None else str(order.resources.cpus)


def _volumes(settings: ClusterSettings) -> list[Object]:
    return [
        *access_volumes(settings),
        {"name": "model", "emptyDir": {"sizeLimit": settings.endpoints.scratch}},
        {"name": "home", "emptyDir": {"sizeLimit": CACHE_SIZE}},
        {"name": "tmp", "emptyDir": {"sizeLimit": TMP_SIZE}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": settings.endpoints.shm}},
    ]


def _variables(values: dict[str, str]) -> list[Object]:
    # $(NAME) in a value would be replaced by Kubernetes; $$ is a dollar sign.
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in sorted(values.items())]
