"""Base models: what is recorded of them, and the manifest that was written when they were found good."""

import re
from collections.abc import Iterator
from typing import Any
from typing import Final

from pydantic import TypeAdapter
from pydantic import ValidationError

from deploy.contract.document import DocumentError
from deploy.contract.layout import base_model_prefix
from deploy.contract.layout import record_key
from deploy.contract.layout import records_prefix
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from service.base_models.schemas import MANIFEST
from service.base_models.schemas import BaseModelManifest
from service.base_models.schemas import HubSource
from service.base_models.schemas import Source
from service.base_models.schemas import UploadSource
from service.base_models.schemas import found_source
from service.recovery.bounded import children
from service.recovery.bounded import read_bounded
from service.recovery.projects import keep_project
from service.recovery.records import BaseModelRecord
from service.recovery.tally import Tally
from service.recovery.units import Units
from service.tables import BaseModelRow

KIND: Final = "base models"
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SOURCE: Final[TypeAdapter[Any]] = TypeAdapter(Source)
_ANY: Final[TypeAdapter[Any]] = TypeAdapter(Any)


def rebuild_base_models(units: Units, store: ObjectStore, tally: Tally, *, now: int) -> None:
    """Rows of base models: ready where there is a manifest, else as far as they had come."""
    recorded = set()
    for found in store.list(records_prefix("base_models")):
        identity = found.key.removeprefix(records_prefix("base_models")).removesuffix(".json")
        recorded.add(identity)
        try:
            if not ID.fullmatch(identity):
                raise DocumentError("no base model can have this name")
            record = BaseModelRecord.from_bytes(read_bounded(store, found.key))
            source = _SOURCE.validate_json(_ANY.dump_json(record.source))
            if (record.key or record.id) != identity:
                raise DocumentError(f"it is of {record.key or record.id}")
            manifest = _manifest(store, identity)
        except (DocumentError, ValidationError) as error:
            tally.skip(KIND, found.key, _first_line(error))
            continue
        _rebuild(units, found.key, _row(record, source, manifest), tally)
    for identity in _others(store, recorded):
        _rebuild_unrecorded(units, store, identity, tally, now=now)


def _others(store: ObjectStore, recorded: set[str]) -> Iterator[str]:
    for identity in children(store, "base_models"):
        if identity not in recorded and ID.fullmatch(identity):
            yield identity


def _manifest(store: ObjectStore, identity: str) -> BaseModelManifest | None:
    prefix = base_model_prefix(identity)
    try:
        manifest = BaseModelManifest.from_bytes(read_bounded(store, prefix + MANIFEST))
    except ObjectMissing:
        return None
    if manifest.uri.rstrip("/") == f"{store.uri}/{prefix}".rstrip("/"):
        for file in manifest.files:
            found = store.info(prefix + file.name)
            if found is None or found.size_bytes != file.size_bytes:
                raise DocumentError(f"its file {file.name} is not there, or not whole")
    return manifest


def _row(record: BaseModelRecord, source: Any, manifest: BaseModelManifest | None) -> BaseModelRow:
    ready = manifest is not None or isinstance(source, HubSource)
    declared = [file.model_dump() for file in source.files] if isinstance(source, UploadSource) else []
    row = BaseModelRow(
        project=record.project,
        id=record.id,
        key=record.key,
        status="ready" if ready else "pending",
        source=record.source,
        uri=None,
        files=declared,
        created_at=record.created_at,
        version=0,
    )
    if manifest is not None:
        row.uri = manifest.uri
        row.files = [file.model_dump() for file in manifest.files]
        row.architecture = manifest.architecture
        row.parameters = manifest.parameters
        row.source = found_source(record.source, manifest.dropped)
    return row


def _rebuild_unrecorded(units: Units, store: ObjectStore, identity: str, tally: Tally, *, now: int) -> None:
    key = base_model_prefix(identity) + MANIFEST
    try:
        manifest = _manifest(store, identity)
    except DocumentError as error:
        tally.skip(KIND, key, str(error))
        return
    if manifest is None:
        tally.skip(KIND, key, "it has neither a record nor a manifest: it was never complete")
        return
    files = [file.model_dump() for file in manifest.files]
    own = manifest.uri.rstrip("/") == f"{store.uri}/{base_model_prefix(identity)}".rstrip("/")
    source = {"type": "upload", "files": files} if own else {"type": "uri", "uri": manifest.uri}
    record = BaseModelRecord(id=identity, key=identity, source=source, created_at=now)
    if _rebuild(units, key, _row(record, _SOURCE.validate_json(_ANY.dump_json(source)), manifest), tally):
        tally.note(record_key("base_models", identity), "there is no record: its age is not known any more")


def _rebuild(units: Units, key: str, row: BaseModelRow, tally: Tally) -> bool:
    with units.unit(KIND, key) as session:
        keep_project(session, row.project, created_at=row.created_at)
        if session.get(BaseModelRow, (row.project, row.id)) is not None:
            tally.count(KIND, "present")
            return False
        session.add(row)
        session.flush()
        tally.count(KIND, "rebuilt")
        if row.status == "pending":
            tally.note(key, "it was not checked yet: it is pending again")
    return True


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
