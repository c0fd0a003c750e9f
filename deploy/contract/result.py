"""How a job ends: the one committed result, or the reason why an attempt failed."""

from typing import Annotated
from typing import Literal

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.document import Sha256
from deploy.contract.document import StoredFile
from deploy.contract.spec import Arm
from deploy.contract.spec import JobId

UnixTime = Annotated[float, Field(ge=0, lt=253_402_300_800)]
"""Seconds since 1970, up to the end of the year 9999: what a calendar can show."""


class StoredObject(Document):
    """One object of a result, by key."""

    key: str
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class ModelArtifact(Document):
    """The weights of one arm: a Hugging Face directory below ``uri``."""

    uri: str
    """``file:///...`` or ``s3://...`` prefix. Trained arms lie in the job's store; the base where it came from."""
    files: Annotated[tuple[StoredFile, ...], Field(min_length=1, max_length=2000)]
    parameters: Annotated[int, Field(ge=1)]
    """Number of weights."""
    architecture: Literal["decoder", "encoder-decoder"]


class JobResult(Document):
    """``jobs/{id}/result.json``. Commits with one conditional PUT; the first one wins."""

    version: Literal[1] = 1
    job_id: JobId
    attempt: Annotated[int, Field(ge=1)]
    pod: str
    spec_sha256: Sha256
    models: dict[Arm, ModelArtifact]
    report: StoredObject
    metrics: StoredObject
    trained_tokens: Annotated[int, Field(ge=0)]
    """Supervised tokens seen by the hardened arm, over all epochs."""
    versions: dict[str, str]
    """Of this package, torch, transformers, vllm, Python."""
    started_at: UnixTime
    finished_at: UnixTime


class JobFailure(Document):
    """``failure.json`` of one start: the message its user gets."""

    exit_code: int
    code: str
    """Stable, like ``invalid_model``."""
    message: Annotated[str, Field(max_length=4000)]
    param: str | None = None
