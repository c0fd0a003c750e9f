"""What the files API takes and gives."""

from typing import Final
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict

from service.tables import FileRow

UPLOAD_PURPOSES: Final = ("fine-tune", "evals")
"""What a user may upload: training and validation data, and probe tasks."""
Purpose = Literal["fine-tune", "evals", "fine-tune-results"]
MIN_EXPIRES_S: Final = 3600
MAX_EXPIRES_S: Final = 2_592_000


class FileObject(BaseModel):
    """OpenAI's file, and its SHA-256."""

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str
    expires_at: int | None = None
    status_details: str | None = None
    sha256: str


class FileDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def file_object(row: FileRow) -> FileObject:
    """What the API shows of a row."""
    return FileObject(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at,
        filename=row.filename,
        purpose=row.purpose,
        status=row.status,
        expires_at=row.expires_at,
        status_details=row.status_details,
        sha256=row.sha256,
    )
