"""What an operator decides about the cluster, in one file: the chart writes it, the reconciler reads it once.

Everything here is a name, a size or a list that Kubernetes defines; quantities are Kubernetes' own strings.
"""

from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Literal
from typing import Self

import yaml
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError
from pydantic import model_validator

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]
"""By digest in production; the chart refuses a bare tag there."""
PullPolicy = Literal["Always", "IfNotPresent", "Never"]


class ClusterSettingsError(ValueError):
    """The file does not describe a cluster; the message names the first offending key."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Placement(_Settings):
    """Where pods may run. Passed on to Kubernetes as it is."""

    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    affinity: dict[str, Any] = {}
    priority_class: Name | None = None
    runtime_class: Name | None = None
    """``nvidia`` where the GPU operator does not make it the default."""


class Gpus(_Settings):
    """How this cluster names its accelerators."""

    resource: str = "nvidia.com/gpu"
    type_label: str = "nvidia.com/gpu.product"
    """Node label that ``resources.gpu_type`` selects by."""


class RunSettings(_Settings):
    """Pods of jobs, or of scans."""

    gpus: Annotated[int, Field(ge=0, le=16)] = 1
    """Of a job that asks for no number. 0 trains on processors."""
    max_gpus: Annotated[int, Field(ge=0, le=1024)] = 8
    """Of one job, over all its nodes; more is refused when the job is created."""
    cpu: Quantity = "8"
    memory: Quantity = "64Gi"
    shm: Quantity = "8Gi"
    """Memory-backed ``/dev/shm``; counts against ``memory``."""
    scratch: Quantity = "200Gi"
    scratch_class: Name | None = None
    """StorageClass of a volume made for each pod; None takes the node's own disk (an emptyDir)."""
    placement: Placement = Placement()


class JobSettings(_Settings):
    """How attempts run."""

    namespace: Name
    service_account: Name
    image: Image
    image_pull_policy: PullPolicy = "IfNotPresent"
    image_pull_secrets: tuple[Name, ...] = ()
    job: RunSettings = RunSettings()
    scan: RunSettings = RunSettings(gpus=0, max_gpus=0, cpu="2", memory="8Gi", shm="256Mi", scratch="20Gi")
    queue: Name | None = None
    """Kueue LocalQueue of a job that names none. None runs jobs at once, and refuses jobs that name one."""
    queues: tuple[Name, ...] = ()
    """LocalQueues that a job may name, besides ``queue``."""
    pending_timeout_s: Annotated[int, Field(ge=1, le=30 * 86_400)] = 3600
    """Longest time a pod may wait to be scheduled or to start; waiting in a queue does not count."""
    ttl_s: Annotated[int, Field(ge=60, le=30 * 86_400)] = 3600
    """How long a finished Job stays for its outcome to be seen."""
    grace_s: Annotated[int, Field(ge=1, le=3600)] = 120
    """Seconds from SIGTERM to SIGKILL: enough for one optimizer step and a checkpoint."""
    environment: dict[str, str] = {}
    """Additional variables of the container, such as a proxy's; never a secret."""


class EndpointSettings(_Settings):
    """How models are served."""

    namespace: Name
    service_account: Name
    image: Image
    """vLLM's own."""
    fetch_image: Image
    """Ours, of the API: its init container fetches and verifies the weights."""
    image_pull_policy: PullPolicy = "IfNotPresent"
    image_pull_secrets: tuple[Name, ...] = ()
    command: tuple[str, ...] = ("vllm", "serve")
    """What comes before the directory of the weights."""
    gpus: Annotated[int, Field(ge=0, le=16)] = 1
    max_gpus: Annotated[int, Field(ge=0, le=1024)] = 8
    """Of one replica."""
    cpu: Quantity = "4"
    memory: Quantity = "32Gi"
    shm: Quantity = "4Gi"
    scratch: Quantity = "100Gi"
    """For the weights; a node's own disk."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 8
    autoscaler: Literal["none", "hpa", "keda"] = "none"
    """What scales by waiting requests: ``hpa`` needs a custom metrics adapter, ``keda`` needs KEDA."""
    prometheus_url: str | None = None
    """Where KEDA asks for vLLM's waiting requests."""
    waiting_per_replica: Annotated[int, Field(ge=1)] = 8
    """Waiting requests of a replica above which another one is started."""
    start_timeout_s: Annotated[int, Field(ge=10, le=86_400)] = 1800
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] = "http://{name}.{namespace}.svc:8000"
    """How the API reaches an endpoint's Service; ``{name}`` and ``{namespace}`` are replaced."""
    placement: Placement = Placement()
    environment: dict[str, str] = {}

    @model_validator(mode="after")
    def _keda_asks_somebody(self) -> Self:
        if self.autoscaler == "keda" and self.prometheus_url is None:
            raise ValueError("autoscaler keda needs prometheus_url")
        return self


class ClusterSettings(_Settings):
    """The whole file."""

    release: Name
    """Goes on every object as ``app.kubernetes.io/instance``: only objects with it are ever touched."""
    broker_url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    """Where pods fetch and store objects: see :mod:`deploy.store.brokered`."""
    broker_audience: str = "temper-broker"
    """Of the token by which a pod says who it is; good for nothing else."""
    broker_ca_config_map: Name | None = None
    """ConfigMap, in the pods' namespaces, whose ``ca.crt`` signed the broker's certificate."""
    gpu: Gpus = Gpus()
    jobs: JobSettings
    endpoints: EndpointSettings


def read_cluster_settings(path: Path) -> ClusterSettings:
    """Read the file.

    Raises:
        ClusterSettingsError: it cannot be read, is not YAML, or a key or value is not known.
    """
    try:
        return ClusterSettings.model_validate(yaml.safe_load(path.read_bytes()))
    except (OSError, yaml.YAMLError) as error:
        raise ClusterSettingsError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "(document)"
        raise ClusterSettingsError(f"{path}: {where}: {first['msg']}") from error
