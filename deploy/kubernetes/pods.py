"""What every pod of ours says alike: that it needs no rights, and where it may run."""

from typing import Final

from deploy.kubernetes.client import Object
from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.settings import Placement

USER: Final = 10001
"""Of our images; upstream's vLLM runs as it as well, for a pod of "restricted" may not be root."""


def pod_security() -> Object:
    """``spec.securityContext`` of Pod Security "restricted"."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """``securityContext`` of each container: no rights, nothing of the image can be written."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def placement_fields(placement: Placement, settings: ClusterSettings, *, gpu_type: str | None) -> Object:
    """Fields of a pod's spec that say where it may run; only those that are set."""
    node_selector = dict(placement.node_selector)
    if gpu_type is not None:
        node_selector[settings.gpu.type_label] = gpu_type
    given: Object = {
        "nodeSelector": node_selector,
        "tolerations": [dict(toleration) for toleration in placement.tolerations],
        "affinity": dict(placement.affinity),
        "priorityClassName": placement.priority_class,
        "runtimeClassName": placement.runtime_class,
    }
    return {key: value for key, value in given.items() if value}
