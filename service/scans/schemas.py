"""The body of ``POST /v1/scans``, closed and strict."""

from typing import Annotated
from typing import Self

from pydantic import Field
from pydantic import model_validator

from deploy.contract.document import Document
from deploy.contract.payload import Payload
from deploy.contract.payload import payload_name
from deploy.contract.probe import DEFAULT_PROBES
from deploy.contract.probe import Probe
from deploy.contract.scan import ScanLimits
from service.jobs.schemas import ColumnOptions
from service.jobs.schemas import MetadataKey
from service.jobs.schemas import MetadataValue
from service.jobs.schemas import ResourceId


class ScanOptions(Document):
    """How a file is scanned."""

    columns: ColumnOptions = ColumnOptions()
    probes: Annotated[tuple[Probe, ...], Field(max_length=64)] = DEFAULT_PROBES
    """Known triggers with their payloads; looked for beside whatever the rows themselves give away."""
    payloads: Annotated[tuple[Payload, ...], Field(max_length=16)] = ()
    """Payloads that speak against a row whatever its prompt says."""
    limits: ScanLimits = ScanLimits()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        probes = [probe.name for probe in self.probes]
        if len(set(probes)) != len(probes):
            raise ValueError("two probes have the same name")
        payloads = [payload_name(payload) for payload in self.payloads]
        if len(set(payloads)) != len(payloads):
            raise ValueError("two payloads have the same name")
        return self


class CreateScan(ScanOptions):
    """A new scan."""

    file: ResourceId
    """Id of a file of purpose ``fine-tune`` or ``evals``."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None

    def options(self) -> ScanOptions:
        """What is not about one file."""
        return ScanOptions.model_validate_json(self.model_dump_json(exclude={"file", "seed", "metadata"}))
