"""What only the database would know, as small documents beside the objects. Written once, never changed."""

from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.document import Sha256
from deploy.contract.layout import DEFAULT_PROJECT
from service.base_models.schemas import source_of
from service.tables import BaseModelRow
from service.tables import FileRow
from service.tables import JobRow
from service.tables import ScanRow
from service.tables import Work
from service.tables import WorkRequest

RECORD_BYTES = 4 << 20
ProjectId = Annotated[str, Field(pattern=r"^(default|proj-[0-9a-z]{1,64})$")]
Seconds = Annotated[int, Field(ge=0, lt=253_402_300_800)]
BaseModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
FileId = Annotated[str, Field(pattern=r"^file-[0-9a-z]{1,64}$")]
WorkId = Annotated[str, Field(pattern=r"^(ftjob|scan)-[a-z0-9]{1,40}$")]


class FileRecord(Document):
    """``records/files/{id}.json``."""

    version: Literal[1] = 1
    id: FileId
    project: ProjectId = DEFAULT_PROJECT
    filename: str
    purpose: Literal["fine-tune", "evals", "fine-tune-results"]
    bytes: Annotated[int, Field(ge=1)]
    sha256: Sha256
    created_at: Seconds
    expires_at: Seconds | None


class BaseModelRecord(Document):
    """``records/base_models/{key}.json``; its manifest says the rest."""

    version: Literal[1] = 1
    id: BaseModelName
    project: ProjectId = DEFAULT_PROJECT
    key: BaseModelName | None = None
    """Names it in the store; none where that is its id."""
    source: dict[str, Any]
    created_at: Seconds


class RequestRecord(Document):
    """The request that created something, by which its repetition is recognised."""

    key: str
    body_hash: str
    by_retry: bool
    created_at: Seconds


class JobOrder(Document):
    """What was asked of a job."""

    type: Literal["job"] = "job"
    model: str
    training_file: FileId
    validation_file: FileId | None
    probe_file: FileId | None
    method: dict[str, Any]
    hyperparameters: dict[str, Any]
    hardening: dict[str, Any]
    suffix: str | None


class ScanOrder(Document):
    """What was asked of a scan."""

    type: Literal["scan"] = "scan"
    file: FileId
    options: dict[str, Any]


class WorkRecord(Document):
    """``records/work/{id}.json``."""

    version: Literal[1] = 1
    id: WorkId
    project: ProjectId = DEFAULT_PROJECT
    order: Annotated[JobOrder | ScanOrder, Field(discriminator="type")]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    metadata: dict[str, Any] | None
    created_at: Seconds
    requests: tuple[RequestRecord, ...] = ()


class EndedRecord(Document):
    """``records/ended/{id}.json``: of what failed or was cancelled. What succeeded has a result."""

    version: Literal[1] = 1
    id: WorkId
    status: Literal["failed", "cancelled"]
    error: dict[str, Any] | None
    attempt: Annotated[int, Field(ge=0)]
    finished_at: Seconds | None


def record_of_file(row: FileRow) -> FileRecord:
    """What the database knows of a file."""
    return FileRecord.model_validate(
        {name: getattr(row, name) for name in FileRecord.model_fields if name != "version"}
    )


def record_of_base_model(row: BaseModelRow) -> BaseModelRecord:
    """What the database alone knows of a base model."""
    return BaseModelRecord(
        id=row.id, project=row.project, key=row.key, source=source_of(row), created_at=row.created_at
    )


def record_of_work(row: Work, requests: list[WorkRequest]) -> WorkRecord:
    """What was asked of a job or a scan."""
    return WorkRecord(
        id=row.id,
        project=row.project,
        order=_order(row),
        seed=row.seed,
        metadata=row.user_metadata,
        created_at=row.created_at,
        requests=tuple(
            RequestRecord(
                key=each.key, body_hash=each.body_hash, by_retry=each.by_retry, created_at=each.created_at
            )
            for each in requests
        ),
    )


def _order(row: Work) -> JobOrder | ScanOrder:
    if isinstance(row, ScanRow):
        return ScanOrder(file=row.file, options=row.options)
    if not isinstance(row, JobRow):
        raise TypeError(f"{type(row).__name__} is neither a job nor a scan")
    return JobOrder.model_validate(
        {name: getattr(row, name) for name in JobOrder.model_fields if name != "type"}
    )


def record_of_end(row: Work) -> EndedRecord:
    """How a job or a scan without a result ended."""
    return EndedRecord.model_validate(
        {
            "id": row.id,
            "status": row.status,
            "error": row.error,
            "attempt": row.attempt,
            "finished_at": row.finished_at,
        }
    )
