"""The tables. Only repositories and migrations import this module.

Times are whole Unix seconds, sizes are bytes. Every table of a resource has its ``project``. Uniqueness is an index, never a check before an
insert. ``version`` goes up with every write of a row that the reconciler and a request may both
change; a write names the version it saw and changes nothing when that is gone.
"""

from typing import TYPE_CHECKING
from typing import Any

from sqlalchemy import JSON
from sqlalchemy import BigInteger
from sqlalchemy import ForeignKey
from sqlalchemy import Index
from sqlalchemy import MetaData
from sqlalchemy import Text
from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from deploy.contract.layout import DEFAULT_PROJECT

# SQLAlchemy would store Python's None in a JSON column as the JSON value null.
_JSON = JSON(none_as_null=True)


class Table(DeclarativeBase):
    """Declares names for constraints, so that migrations can name them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - read once by SQLAlchemy when a class is declared
        str: Text,
        int: BigInteger,
        dict[str, Any]: _JSON,
        list[Any]: _JSON,
    }


class ProjectRow(Table):
    """A tenant: the owner of everything else."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[int]
    archived_at: Mapped[int | None]
    erase: Mapped[bool] = mapped_column(default=False)
    """Whether what an archived project owned is to be erased, not only locked away."""
    erased_at: Mapped[int | None]
    """When nothing was left to erase."""


class ApiKeyRow(Table):
    """A key of a project. Times are by the database's clock."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "project", "created_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    """Stands in the key itself, which is looked up by it."""
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    secret_sha256: Mapped[str]
    scopes: Mapped[list[Any]]
    created_at: Mapped[int]
    expires_at: Mapped[int | None]
    revoked_at: Mapped[int | None]
    last_used_at: Mapped[int | None]
    """A minute exact."""


class Owned(Table):
    """What belongs to a project. Rows of older versions belong to the default one."""

    __abstract__ = True

    project: Mapped[str] = mapped_column(default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT)


class FileRow(Owned):
    """A file whose content lies complete in the store."""

    __tablename__ = "files"
    __table_args__ = (Index(None, "project", "created_at", "id"), Index(None, "created_at", "id"))

    id: Mapped[str] = mapped_column(primary_key=True)
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str]
    status: Mapped[str] = mapped_column(default="processed")
    status_details: Mapped[str | None]
    created_at: Mapped[int]
    expires_at: Mapped[int | None]
    deleted: Mapped[bool] = mapped_column(default=False)


class UploadRow(Owned):
    """A file that arrives in parts."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "project", "created_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int]
    mime_type: Mapped[str]
    file_expires_after_s: Mapped[int | None]
    status: Mapped[str] = mapped_column(default="pending")
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    created_at: Mapped[int]
    expires_at: Mapped[int]
    version: Mapped[int] = mapped_column(default=0)


class UploadPartRow(Table):
    """One complete part of an upload."""

    __tablename__ = "upload_parts"

    id: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), index=True)
    bytes: Mapped[int]
    sha256: Mapped[str]
    created_at: Mapped[int]


class BaseModelRow(Owned):
    """A model that jobs start from. Its user chooses its id, which another project may have as well."""

    __tablename__ = "base_models"
    __table_args__ = (Index(None, "project", "created_at", "id"), Index(None, "created_at", "id"))

    project: Mapped[str] = mapped_column(
        primary_key=True, default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str | None] = mapped_column(unique=True)
    """Names its objects in the store, which all projects share; none where an older version made the row."""
    status: Mapped[str]
    """ready, pending or failed."""
    source: Mapped[dict[str, Any]]
    """As its user named it: type upload, uri or hub."""
    uri: Mapped[str | None]
    """Prefix of the files, once known; none for a hub model, which its job fetches."""
    files: Mapped[list[Any]] = mapped_column(default=list)
    """Each {name, size_bytes, sha256}, verified when ready; declared while pending."""
    architecture: Mapped[str | None]
    parameters: Mapped[int | None]
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[int]
    version: Mapped[int] = mapped_column(default=0)

    @property
    def stored_as(self) -> str:
        """What its objects are named by."""
        return self.key or self.id


class Work(Owned):
    """What runs in attempts until it ends: a fine-tuning job, a scan."""

    __abstract__ = True

    id: Mapped[str] = mapped_column(primary_key=True)
    seed: Mapped[int]
    user_metadata: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    """``metadata`` in the database and in the API; SQLAlchemy keeps that attribute for itself."""
    inputs: Mapped[dict[str, Any] | None]
    """What validation found: the references that every attempt's spec repeats."""
    status: Mapped[str] = mapped_column(index=True)
    """One of OpenAI's six values."""
    phase: Mapped[str | None]
    progress: Mapped[dict[str, Any] | None]
    attempt: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[int | None]
    failures: Mapped[int] = mapped_column(default=0)
    """Attempts that the platform made fail."""
    launched_at: Mapped[int | None]
    """Of the newest attempt."""
    gpus: Mapped[int] = mapped_column(default=0, server_default="0")
    """Of all its machines together; none where it runs as a process of the service's own machine."""
    machine_s: Mapped[int] = mapped_column(default=0, server_default="0")
    """Seconds that it had its machines, but for the attempt that goes on."""
    spec_sha256: Mapped[str | None]
    outcome: Mapped[dict[str, Any] | None]
    """Of what succeeded. A job's: verdict, reasons, and the model of each arm. A scan's: its counts."""
    error: Mapped[dict[str, Any] | None]
    result_files: Mapped[list[Any]] = mapped_column(default=list)
    created_at: Mapped[int]
    started_at: Mapped[int | None]
    finished_at: Mapped[int | None]
    estimated_finish: Mapped[int | None]
    version: Mapped[int] = mapped_column(default=0)


class JobRow(Work):
    """A fine-tuning job: what was asked, and where it is."""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "project", "created_at", "id"), Index(None, "created_at", "id"))

    model: Mapped[str] = mapped_column(index=True)
    """Id of the base model; no foreign key, for a finished job outlives its base model."""
    training_file: Mapped[str] = mapped_column(ForeignKey("files.id"), index=True)
    validation_file: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    probe_file: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    method: Mapped[dict[str, Any]]
    hyperparameters: Mapped[dict[str, Any]]
    """Resolved: no ``auto`` is left."""
    hardening: Mapped[dict[str, Any]]
    suffix: Mapped[str | None]
    pause_requested: Mapped[bool] = mapped_column(default=False)
    fine_tuned_model: Mapped[str | None]
    trained_tokens: Mapped[int | None]


class ScanRow(Work):
    """A scan of a training file: what was asked, and where it is."""

    __tablename__ = "scans"
    __table_args__ = (Index(None, "project", "created_at", "id"), Index(None, "created_at", "id"))

    file: Mapped[str] = mapped_column(ForeignKey("files.id"), index=True)
    options: Mapped[dict[str, Any]]
    """Columns, probes, payloads and limits, as asked."""


class WorkRequest(Table):
    """A request that created something, by which its repetition is recognised."""

    __abstract__ = True

    project: Mapped[str] = mapped_column(
        primary_key=True, default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT
    )
    key: Mapped[str] = mapped_column(primary_key=True)
    """An Idempotency-Key, or the body's hash; of two racing creates the index lets one win."""
    body_hash: Mapped[str]
    by_retry: Mapped[bool]
    """Made by a client's retry, which overtook the request that it repeats."""
    created_at: Mapped[int]
    if TYPE_CHECKING:
        work_id: Mapped[str]
        """Of what was created."""


class JobRequestRow(WorkRequest):
    """A request that created a job."""

    __tablename__ = "job_requests"

    work_id: Mapped[str] = mapped_column("job_id", ForeignKey("jobs.id"))


class ScanRequestRow(WorkRequest):
    """A request that created a scan."""

    __tablename__ = "scan_requests"

    work_id: Mapped[str] = mapped_column("scan_id", ForeignKey("scans.id"))


class WorkEvent(Table):
    """Something that happened to a job or a scan."""

    __abstract__ = True

    id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    pod: Mapped[str]
    """Empty for events of the service itself."""
    sequence: Mapped[int]
    at: Mapped[float]
    level: Mapped[str]
    type: Mapped[str]
    message: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    if TYPE_CHECKING:
        work_id: Mapped[str]
        """To what it happened."""


class JobEventRow(WorkEvent):
    """Something that happened to a job."""

    __tablename__ = "job_events"
    __table_args__ = (
        UniqueConstraint("job_id", "attempt", "pod", "sequence"),
        Index(None, "job_id", "at", "id"),
    )

    work_id: Mapped[str] = mapped_column("job_id", ForeignKey("jobs.id"))


class ScanEventRow(WorkEvent):
    """Something that happened to a scan."""

    __tablename__ = "scan_events"
    __table_args__ = (
        UniqueConstraint("scan_id", "attempt", "pod", "sequence"),
        Index(None, "scan_id", "at", "id"),
    )

    work_id: Mapped[str] = mapped_column("scan_id", ForeignKey("scans.id"))


class JobCheckpointRow(Table):
    """A checkpoint that a job wrote."""

    __tablename__ = "job_checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "prefix"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    arm: Mapped[str]
    step: Mapped[int]
    epoch: Mapped[float]
    prefix: Mapped[str]
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[int]


class ModelRow(Owned):
    """A model that can be served: an arm of a finished job."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("job_id", "arm"), Index(None, "project", "created_at", "id"))

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    base_model_id: Mapped[str | None]
    arm: Mapped[str]
    uri: Mapped[str]
    files: Mapped[list[Any]]
    architecture: Mapped[str]
    parameters: Mapped[int]
    created_at: Mapped[int]
    deleted: Mapped[bool] = mapped_column(default=False)


class EndpointRow(Owned):
    """A model behind a server."""

    __tablename__ = "endpoints"
    __table_args__ = (
        UniqueConstraint("project", "active_model_id"),
        Index(None, "project", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(index=True)
    """Of a hardened, control or base model."""
    active_model_id: Mapped[str | None]
    """The same id until the endpoint is gone: the index allows one live endpoint for a model of a project."""
    status: Mapped[str]
    url: Mapped[str | None]
    reason: Mapped[str | None]
    """Why it failed; before that, what it waits for, where that is known."""
    max_model_len: Mapped[int | None]
    resources: Mapped[dict[str, Any] | None]
    """Of one replica, as asked; none takes the operator's defaults."""
    min_replicas: Mapped[int] = mapped_column(default=1, server_default="1")
    max_replicas: Mapped[int] = mapped_column(default=1, server_default="1")
    ready_replicas: Mapped[int | None]
    idle_s: Mapped[int | None]
    """Without a request for this long it falls asleep; none never does."""
    policy: Mapped[dict[str, Any] | None]
    """Which verdicts it serves, as asked; none takes the default."""
    last_used_at: Mapped[int | None]
    """By the database's clock, some seconds exact; written without ``version``, for any number of APIs do."""
    remove_requested: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[int]
    version: Mapped[int] = mapped_column(default=0)


class LeftoverRow(Table):
    """An object that is being written or deleted: see :mod:`service.leftovers`."""

    __tablename__ = "leftovers"

    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]
    """Of the object, or a prefix, which ends with a slash."""
    noted_at: Mapped[float]
    """By the database's clock."""
