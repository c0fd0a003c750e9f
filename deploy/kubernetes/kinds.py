"""The kinds of objects that we read and write, and where the API server keeps them."""

from dataclasses import dataclass
from typing import Any
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One namespaced kind."""

    api_version: str
    """``v1``, or ``group/version``."""
    name: str
    """As ``kind:`` says it."""
    plural: str
    """As the path says it."""

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Path of the collection, of one object, or of a part of one."""
        root = "/api" if "/" not in self.api_version else "/apis"
        parts = [root, self.api_version, "namespaces", namespace, self.plural, name, subresource]
        return "/".join(part for part in parts if part)

    def manifest(self, *, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        """An object of this kind, as it is sent."""
        return {"apiVersion": self.api_version, "kind": self.name, "metadata": metadata, "spec": spec}

    def reference(self, name: str) -> dict[str, Any]:
        """How another object names one of this kind."""
        return {"apiVersion": self.api_version, "kind": self.name, "name": name}


JOBS: Final = Kind(api_version="batch/v1", name="Job", plural="jobs")
PODS: Final = Kind(api_version="v1", name="Pod", plural="pods")
SERVICES: Final = Kind(api_version="v1", name="Service", plural="services")
DEPLOYMENTS: Final = Kind(api_version="apps/v1", name="Deployment", plural="deployments")
POD_DISRUPTION_BUDGETS: Final = Kind(
    api_version="policy/v1", name="PodDisruptionBudget", plural="poddisruptionbudgets"
)
HORIZONTAL_POD_AUTOSCALERS: Final = Kind(
    api_version="autoscaling/v2", name="HorizontalPodAutoscaler", plural="horizontalpodautoscalers"
)
SCALED_OBJECTS: Final = Kind(api_version="keda.sh/v1alpha1", name="ScaledObject", plural="scaledobjects")
"""KEDA's; absent where it is not installed."""
WORKLOADS: Final = Kind(api_version="kueue.x-k8s.io/v1beta2", name="Workload", plural="workloads")
"""Kueue's, from 0.15 on (0.20 serves no older version of it); absent where Kueue is not installed."""
