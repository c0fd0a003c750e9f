"""Results as files: copies under ids that are always the same, listed beside what users upload."""

from typing import Final

from deploy.contract import layout
from deploy.contract.document import sha256_hex
from deploy.contract.result import StoredObject
from deploy.store.protocol import ObjectStore
from service.tables import FileRow
from service.tables import Work

PURPOSE: Final = "fine-tune-results"


def result_file_id(work_id: str, name: str) -> str:
    """The id of a result file: always the same, so that publishing twice makes one file."""
    return f"file-{sha256_hex(f'{work_id}/{name}'.encode())[:32]}"


def copy_result_file(store: ObjectStore, work_id: str, name: str, stored: StoredObject) -> None:
    """Put a result file where files lie. May be repeated. Raises StoreError; OSError when it changed meanwhile."""
    copied = store.put(layout.file_key(result_file_id(work_id, name)), store.read(stored.key))
    if copied.sha256 != stored.sha256:
        raise OSError(f"{stored.key} changed while it was copied")


def result_file(row: Work, name: str, stored: StoredObject, *, now: float) -> FileRow:
    """The row that makes a copied result file visible."""
    return FileRow(
        project=row.project,
        id=result_file_id(row.id, name),
        filename=name,
        purpose=PURPOSE,
        bytes=stored.size_bytes,
        sha256=stored.sha256,
        status="processed",
        status_details=None,
        created_at=int(now),
        expires_at=None,
        deleted=False,
    )
