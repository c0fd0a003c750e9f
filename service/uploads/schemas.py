"""What the uploads API takes and gives."""

from typing import Annotated
from typing import Final
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field

from service.files.schemas import MAX_EXPIRES_S
from service.files.schemas import MIN_EXPIRES_S
from service.files.schemas import FileObject
from service.tables import UploadPartRow
from service.tables import UploadRow

MAX_PARTS: Final = 10_000
"""S3's own limit on the parts of one object."""
LIFETIME_S: Final = 3600

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ExpiresAfter(BaseModel):
    """When the file that comes of it goes away."""

    model_config = _STRICT

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=MIN_EXPIRES_S, le=MAX_EXPIRES_S)]


class CreateUpload(BaseModel):
    """Announces a file."""

    model_config = _STRICT

    filename: Annotated[str, Field(min_length=1, max_length=255)]
    purpose: str
    bytes: Annotated[int, Field(ge=1)]
    mime_type: Annotated[str, Field(max_length=255)]
    expires_after: ExpiresAfter | None = None


class CompleteUpload(BaseModel):
    """Names the parts in their order."""

    model_config = _STRICT

    part_ids: Annotated[list[str], Field(min_length=1, max_length=MAX_PARTS)]
    md5: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None


class UploadObject(BaseModel):
    """OpenAI's upload."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None = None


class UploadPartObject(BaseModel):
    """OpenAI's part of an upload."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def upload_object(row: UploadRow, *, file: FileObject | None = None) -> UploadObject:
    """What the API shows of a row."""
    return UploadObject.model_validate(
        {
            "id": row.id,
            "bytes": row.bytes,
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "filename": row.filename,
            "purpose": row.purpose,
            "status": row.status,
            "file": file,
        }
    )


def part_object(row: UploadPartRow) -> UploadPartObject:
    """What the API shows of a part."""
    return UploadPartObject(id=row.id, created_at=row.created_at, upload_id=row.upload_id)
