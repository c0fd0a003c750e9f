"""Files: their content and its record. One without content was deleted, one without a record is named by its id."""

import hashlib
import re
from collections.abc import Collection
from typing import Final

from sqlalchemy.orm import Session

from deploy.contract.document import DocumentError
from deploy.contract.layout import DEFAULT_PROJECT
from deploy.contract.layout import file_key
from deploy.contract.layout import record_key
from deploy.contract.layout import records_prefix
from deploy.contract.spec import DatasetRef
from deploy.store.protocol import ObjectStore
from service.recovery.bounded import read_bounded
from service.recovery.projects import keep_project
from service.recovery.records import FileRecord
from service.recovery.tally import Tally
from service.recovery.units import Units
from service.tables import FileRow
from service.tables import Work

KIND: Final = "files"
ID: Final = re.compile(r"file-[0-9a-z]{1,64}")


def rebuild_files(
    units: Units, store: ObjectStore, tally: Tally, *, now: int, results: Collection[str]
) -> None:
    """Rows of files.

    Args:
        units: of this recovery.
        store: to read.
        tally: told what became of each.
        now: Unix seconds; the age of what has no record.
        results: ids of copies of results, which come back with their job.
    """
    contents = {found.key.removeprefix(file_key("")): found.size_bytes for found in store.list(file_key(""))}
    recorded = set()
    for found in store.list(records_prefix("files")):
        file_id = found.key.removeprefix(records_prefix("files")).removesuffix(".json")
        recorded.add(file_id)
        if not ID.fullmatch(file_id):
            tally.skip(KIND, found.key, "no file can have this name")
            continue
        record = _read(store, found.key, file_id, tally)
        if record is not None:
            _rebuild(units, record, contents.get(file_id), tally)
    for file_id in sorted(set(contents) - recorded - set(results)):
        if ID.fullmatch(file_id) and contents[file_id] > 0:
            _rebuild_unrecorded(units, store, file_id, tally, now=now)
        else:
            tally.skip(KIND, file_key(file_id), "no file can have this name or be empty")


def _read(store: ObjectStore, key: str, file_id: str, tally: Tally) -> FileRecord | None:
    try:
        record = FileRecord.from_bytes(read_bounded(store, key))
    except DocumentError as error:
        tally.skip(KIND, key, str(error))
        return None
    if record.id != file_id:
        tally.skip(KIND, key, f"it is of {record.id}")
        return None
    return record


def _rebuild(units: Units, record: FileRecord, size_bytes: int | None, tally: Tally) -> None:
    key = record_key("files", record.id)
    if size_bytes is not None and size_bytes != record.bytes:
        tally.skip(KIND, file_key(record.id), f"it has {size_bytes} bytes, recorded are {record.bytes}")
        return
    with units.unit(KIND, key) as session:
        if session.get(FileRow, record.id) is not None:
            tally.count(KIND, "present")
            return
        keep_project(session, record.project, created_at=record.created_at)
        values = record.model_dump(exclude={"version"})
        session.add(FileRow(**values, status="processed", deleted=size_bytes is None))
        session.flush()
        tally.count(KIND, "rebuilt")


def _rebuild_unrecorded(units: Units, store: ObjectStore, file_id: str, tally: Tally, *, now: int) -> None:
    key = file_key(file_id)
    with units.unit(KIND, key) as session:
        if session.get(FileRow, file_id) is not None:
            tally.count(KIND, "present")
            return
        digest, size_bytes = hashlib.sha256(), 0
        for chunk in store.read(key):
            digest.update(chunk)
            size_bytes += len(chunk)
        session.add(
            FileRow(
                project=DEFAULT_PROJECT,
                id=file_id,
                filename=f"{file_id}.jsonl",
                purpose="fine-tune",
                bytes=size_bytes,
                sha256=digest.hexdigest(),
                status="processed",
                created_at=now,
                deleted=False,
            )
        )
        session.flush()
        tally.count(KIND, "rebuilt")
        tally.note(key, "it has no record: its name, purpose and age are not known any more")


def stand_in(session: Session, row: Work, file_id: str, ref: DatasetRef | None) -> None:
    """A place in the list of files for one that was deleted and that a job or a scan still names."""
    if session.get(FileRow, file_id) is None:
        session.add(
            FileRow(
                project=row.project,
                id=file_id,
                filename=file_id if ref is None else ref.filename,
                purpose="fine-tune",
                bytes=1 if ref is None else ref.size_bytes,
                sha256="0" * 64 if ref is None else ref.sha256,
                status="processed",
                created_at=row.created_at,
                deleted=True,
            )
        )
        session.flush()
