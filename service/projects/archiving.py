"""The end of a project: what goes on ends at once, and what it owns is erased where that is wished.

Erasing is done by the process that reconciles: first the objects, then the rows that name them, so that it can be
taken up again after a crash. The audit log and the project's own row stay.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any
from typing import Final

from sqlalchemy import delete
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.schema import Table as Declared

from deploy.contract.layout import RecordKind
from deploy.contract.layout import base_model_prefix
from deploy.contract.layout import endpoint_prefix
from deploy.contract.layout import file_key
from deploy.contract.layout import job_prefix
from deploy.contract.layout import record_key
from service.context import Context
from service.endpoints import repository as endpoints
from service.jobs.repository import JOBS
from service.projects.fleet import archived_and_alive
from service.projects.fleet import mark_erased
from service.projects.fleet import to_erase
from service.scans.repository import SCANS
from service.tables import BaseModelRow
from service.tables import EndpointRow
from service.tables import FileRow
from service.tables import JobRow
from service.tables import ScanRow
from service.tables import Table
from service.tables import UploadRow
from service.work.decision import cancelled
from service.work.decision import decide
from service.work.ends import TERMINAL
from service.work.repository import WorkRepository

ERASE_AFTER_S: Final = 120
"""Of an archived project: runs have ended by then that were told to stop, and requests that had begun."""
KEPT: Final = frozenset({"audit_log"})
SAID: Final = "Its project was archived: it is cancelled."


def end_everything(session: Session, project: str, *, now: float) -> None:
    """Cancel a project's work and have its endpoints removed. May be repeated.

    Raises:
        Unavailable: some of it changes all the time.
    """
    for kind in (JOBS, SCANS):
        _cancel_all(session, kind, project, now=now)
    for row in endpoints.unfinished(session, project):
        if not row.remove_requested:
            endpoints.request_removal(session, row)


def _cancel_all(session: Session, kind: WorkRepository[Any, Any, Any], project: str, *, now: float) -> None:
    for row in kind.unfinished(session, project):

        def find(work_id: str = row.id) -> Any:
            session.expire_all()
            return kind.get(session, project, work_id)

        def decision(found: Any) -> dict[str, Any] | None:
            return None if found.status in TERMINAL else cancelled(found, now=now)

        decide(session, kind, find, decision, SAID, now=now)


def tend_archived(context: Context) -> None:
    """End what was begun in an archived project while its keys died, and erase what is to be erased.

    Raises:
        StoreError, sqlalchemy.exc.SQLAlchemyError: it goes on another time.
    """
    with context.database.reading() as session:
        alive = archived_and_alive(session)
        erasing = to_erase(session, after_s=ERASE_AFTER_S)
    for project in alive:
        with context.database.writing() as session:
            end_everything(session, project, now=context.clock.now())
    for project in erasing:
        erase(context, project)


def erase(context: Context, project: str) -> None:
    """Delete every object and every row of a project of which nothing goes on. May be repeated. Raises as above."""
    with context.database.reading() as session:
        prefixes, keys = _objects(session, project)
    for prefix in prefixes:
        context.store.delete_prefix(prefix)
    for key in keys:
        context.store.delete(key)
    with context.database.writing() as session:
        for table in reversed(Table.metadata.sorted_tables):
            owned = _owned(table, project)
            if owned is not None and table.name not in KEPT:
                session.execute(delete(table).where(owned))
        mark_erased(session, project)


def _objects(session: Session, project: str) -> tuple[list[str], list[str]]:
    """Prefixes and keys of everything that a project has in the store, the records of it among them."""

    def ids(row: Any) -> list[str]:
        return list(session.scalars(select(row.id).where(row.project == project)))

    work = [*ids(JobRow), *ids(ScanRow)]
    models = session.scalars(select(BaseModelRow).where(BaseModelRow.project == project))
    stored = [row.stored_as for row in models]
    files = ids(FileRow)
    prefixes = [
        *map(job_prefix, work),
        *map(base_model_prefix, stored),
        *map(endpoint_prefix, ids(EndpointRow)),
        *(f"uploads/{upload}/" for upload in ids(UploadRow)),
    ]
    keys = [
        *map(file_key, files),
        *_records("files", files),
        *_records("base_models", stored),
        *_records("work", work),
        *_records("ended", work),
    ]
    return prefixes, keys


def _records(kind: RecordKind, identities: Iterable[str]) -> Iterable[str]:
    return map(partial(record_key, kind), identities)


def _owned(table: Declared, project: str) -> Any | None:
    """Which rows of a table are a project's; None for a table that is of none."""
    if "project" in table.c:
        return table.c["project"] == project
    for key in table.foreign_keys:
        parent = key.column.table
        if "project" in parent.c:
            return key.parent.in_(select(key.column).where(parent.c["project"] == project))
    return None
