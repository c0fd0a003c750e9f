"""What a user may ask of the machines that run a job or serve a model. The operator's defaults fill the rest."""

from typing import Annotated
from typing import Final
from typing import Self

from pydantic import Field
from pydantic import model_validator

from deploy.contract.document import Document

GpuType = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
"""Value of the operator's GPU type label, such as ``NVIDIA-H100-80GB-HBM3``."""
QueueName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
"""A Kueue LocalQueue."""


class Resources(Document):
    """Of one job. ``None`` takes the operator's default; a local process ignores all of it."""

    gpus: Annotated[int, Field(ge=0, le=16)] | None = None
    """Of each node."""
    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    gpu_type: GpuType | None = None
    cpus: Annotated[int, Field(ge=1, le=512)] | None = None
    """Of each node."""
    memory_gib: Annotated[int, Field(ge=1, le=8192)] | None = None
    """Of each node."""

    @model_validator(mode="after")
    def _nodes_have_gpus(self) -> Self:
        if self.nodes > 1 and self.gpus == 0:
            raise ValueError("several nodes need at least one GPU each")
        return self


ANY_RESOURCES: Final = Resources()
"""The operator's defaults."""
