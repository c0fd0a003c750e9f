"""The objects that serve one model: Deployment, Service, disruption budget, autoscaler.

Only ids, hashes, URIs and numbers that were checked here reach a manifest. Covers what the pods may do by themselves;
does not cover whom they can talk to (NetworkPolicies) nor who may make them (RBAC).

No request fails when pods are replaced: a new one is added first (``maxSurge`` 1, ``maxUnavailable`` 0) and counts
from its first token on; the old one goes on for as long as anybody may still send to it, and ends when it has
answered all (``drain`` of :mod:`deploy.endpoint.probe`). So an update needs room for one replica more.

The order (:class:`deploy.endpoint.order.ServeOrder`, up to 2000 files) lies in the store and the pod's template holds
its hash: annotations and variables are too small for it, and nobody gets a right on ConfigMaps.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from deploy.contract.document import sha256_hex
from deploy.endpoint.protocol import EndpointRefused
from deploy.endpoint.protocol import Serve
from deploy.endpoint.serving_pod import PORT
from deploy.endpoint.serving_pod import gpus_of
from deploy.endpoint.serving_pod import pod_spec
from deploy.kubernetes.client import Object
from deploy.kubernetes.kinds import DEPLOYMENTS
from deploy.kubernetes.kinds import HORIZONTAL_POD_AUTOSCALERS
from deploy.kubernetes.kinds import POD_DISRUPTION_BUDGETS
from deploy.kubernetes.kinds import SCALED_OBJECTS
from deploy.kubernetes.kinds import SERVICES
from deploy.kubernetes.kinds import Kind
from deploy.kubernetes.labels import labels
from deploy.kubernetes.quantity import number_of
from deploy.kubernetes.settings import ClusterSettings

ENDPOINT: Final = "temper/endpoint"
"""Label of an endpoint's objects and pods: its name."""
REPLICAS: Final = "temper/replicas"
"""Annotation of a Deployment: ``at least-at most``, as its order said."""
SETTINGS: Final = "temper/settings"
"""Annotation of a Deployment: the hash of the settings that it was made by."""
KEYS: Final = "temper/keys"
"""Annotation of a Deployment: the hash of the keys that its pods verify evidence with, where they do."""
WAITING: Final = "vllm:num_requests_waiting"
CALM_S: Final = 300
"""A replica that starts takes minutes: one is not given up for a quiet minute."""
_NAME: Final = re.compile(r"ep-[a-z0-9]{1,40}")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """Everything that one endpoint consists of."""

    deployment: Object
    others: tuple[tuple[Kind, Object], ...]


def manifests(order: Serve, settings: ClusterSettings, *, order_uri: str, order_sha256: str) -> Manifests:
    """The objects of an order.

    Raises:
        EndpointRefused: it is none that this cluster can serve.
    """
    check_order(order, settings)
    template = {
        "metadata": {"labels": _labels(order.name, settings)},
        # Nothing here depends on how many replicas there are: another number of them replaces none.
        "spec": {
            **pod_spec(order, settings, order_uri=order_uri, order_sha256=order_sha256),
            "topologySpreadConstraints": [_spread(order.name, settings)],
        },
    }
    others: list[tuple[Kind, Object]] = [(SERVICES, _service(order, settings))]
    if order.max_replicas > 1:
        others.append((POD_DISRUPTION_BUDGETS, _disruption_budget(order, settings)))
    if is_scaled(order, settings):
        others.append(_autoscaler(order, settings))
    return Manifests(deployment=_deployment(order, settings, template), others=tuple(others))


def check_order(order: Serve, settings: ClusterSettings) -> None:
    """Refuse what must not, or cannot, be served here. Raises EndpointRefused, naming what is wrong."""
    if not _NAME.fullmatch(order.name):
        raise EndpointRefused(f"{order.name!r} is not the name of an endpoint")
    if not _MODEL.fullmatch(order.model_id):
        raise EndpointRefused(f"{order.name}: the model's id {order.model_id!r} cannot be an argument")
    if not 1 <= order.replicas <= order.max_replicas:
        raise EndpointRefused(f"{order.name}: {order.replicas} to {order.max_replicas} replicas")
    if order.resources.nodes != 1:
        raise EndpointRefused(f"{order.name}: resources.nodes: a replica runs on one node")
    endpoints, gpus = settings.endpoints, gpus_of(order, settings)
    if gpus > endpoints.max_gpus:
        raise EndpointRefused(
            f"{order.name}: resources.gpus: {gpus} are more than max_gpus, {endpoints.max_gpus}"
        )
    size_bytes = sum(file.size_bytes for file in order.files)
    if size_bytes > number_of(endpoints.scratch):
        raise EndpointRefused(
            f"{order.name}: the model has {size_bytes / 2**30:.1f} GiB,"
            f" a replica has room for {endpoints.scratch} (endpoints.scratch)"
        )


def is_scaled(order: Serve, settings: ClusterSettings) -> bool:
    """Whether an autoscaler says how many replicas there are."""
    return settings.endpoints.autoscaler != "none" and order.max_replicas > order.replicas


def settings_hash(settings: ClusterSettings) -> str:
    """Of everything of the operator's that an endpoint is made by: other settings make other pods."""
    made_by = settings.model_dump(mode="json", exclude={"jobs"})
    return sha256_hex(json.dumps(made_by, sort_keys=True).encode())[:16]


def keys_hash(keys: Iterable[str]) -> str:
    """Of public keys: where they change, pods that begin later have to know the new ones."""
    return sha256_hex("".join(sorted(keys)).encode())[:16]


def replicas_of(deployment: Object) -> tuple[int, int] | None:
    """At least and at most, as the order said that a Deployment was made by."""
    annotations = deployment["metadata"].get("annotations") or {}
    at_least, _, at_most = str(annotations.get(REPLICAS, "")).partition("-")
    return (int(at_least), int(at_most)) if at_least.isdecimal() and at_most.isdecimal() else None


def _labels(name: str, settings: ClusterSettings) -> dict[str, str]:
    return {**labels(settings.release, "endpoint"), ENDPOINT: name}


def _selector(name: str, settings: ClusterSettings) -> Object:
    return {"matchLabels": _labels(name, settings)}


def _metadata(order: Serve, settings: ClusterSettings) -> Object:
    return {
        "name": order.name,
        "namespace": settings.endpoints.namespace,
        "labels": _labels(order.name, settings),
    }


def _deployment(order: Serve, settings: ClusterSettings, template: Object) -> Object:
    annotations = {
        REPLICAS: f"{order.replicas}-{order.max_replicas}",
        SETTINGS: settings_hash(settings),
    }
    if order.trust is not None:
        annotations[KEYS] = keys_hash(order.trust.keys)
    return DEPLOYMENTS.manifest(
        metadata={**_metadata(order, settings), "annotations": annotations},
        spec={
            "replicas": order.replicas,
            "selector": _selector(order.name, settings),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "revisionHistoryLimit": 1,
            # By the cluster's clock, however often the reconciler starts anew.
            "progressDeadlineSeconds": settings.endpoints.start_timeout_s,
            "template": template,
        },
    )


def _spread(name: str, settings: ClusterSettings) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": _selector(name, settings),
    }


def _service(order: Serve, settings: ClusterSettings) -> Object:
    return SERVICES.manifest(
        metadata=_metadata(order, settings),
        spec={
            "type": "ClusterIP",
            "selector": _labels(order.name, settings),
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
        },
    )


def _disruption_budget(order: Serve, settings: ClusterSettings) -> Object:
    # Not minAvailable: with one replica, as there may be between min_replicas and max_replicas, it would keep a node
    # from ever being drained. And a replica that does not work is in nobody's way.
    return POD_DISRUPTION_BUDGETS.manifest(
        metadata=_metadata(order, settings),
        spec={
            "maxUnavailable": 1,
            "selector": _selector(order.name, settings),
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )


def _autoscaler(order: Serve, settings: ClusterSettings) -> tuple[Kind, Object]:
    if settings.endpoints.autoscaler == "keda":
        return SCALED_OBJECTS, _scaled_object(order, settings)
    return HORIZONTAL_POD_AUTOSCALERS, _horizontal_autoscaler(order, settings)


def _horizontal_autoscaler(order: Serve, settings: ClusterSettings) -> Object:
    each = str(settings.endpoints.waiting_per_replica)
    metric = {"metric": {"name": WAITING}, "target": {"type": "AverageValue", "averageValue": each}}
    return HORIZONTAL_POD_AUTOSCALERS.manifest(
        metadata=_metadata(order, settings),
        spec={
            "scaleTargetRef": _target(order),
            "minReplicas": order.replicas,
            "maxReplicas": order.max_replicas,
            "metrics": [{"type": "Pods", "pods": metric}],
            "behavior": _behavior(),
        },
    )


def _scaled_object(order: Serve, settings: ClusterSettings) -> Object:
    # vLLM itself says which model its figures are of, however it is scraped.
    query = f"sum({WAITING}{{model_name={json.dumps(order.model_id)}}})"
    trigger = {
        "serverAddress": settings.endpoints.prometheus_url or "",
        "query": query,
        "threshold": str(settings.endpoints.waiting_per_replica),
    }
    return SCALED_OBJECTS.manifest(
        metadata=_metadata(order, settings),
        spec={
            "scaleTargetRef": _target(order),
            "minReplicaCount": order.replicas,
            "maxReplicaCount": order.max_replicas,
            "cooldownPeriod": CALM_S,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior()}},
            "triggers": [{"type": "prometheus", "metadata": trigger}],
        },
    )


def _target(order: Serve) -> Object:
    return DEPLOYMENTS.reference(order.name)


def _behavior() -> Object:
    one_a_minute = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
    return {
        "scaleUp": dict(one_a_minute),
        "scaleDown": {**one_a_minute, "stabilizationWindowSeconds": CALM_S},
    }
