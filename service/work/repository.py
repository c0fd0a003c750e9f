"""Rows of work, of its events and of the requests that created it: every query that jobs and scans share.

What takes a row takes one that was read for its project, and looks nowhere else.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Final
from typing import Generic
from typing import TypeVar
from typing import cast

from sqlalchemy import CursorResult
from sqlalchemy import and_
from sqlalchemy import func
from sqlalchemy import insert
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from deploy.contract.document import sha256_hex
from service.paging import newest_first
from service.tables import Table
from service.tables import Work
from service.tables import WorkEvent
from service.tables import WorkRequest
from service.webhooks.events import events_of_end
from service.webhooks.outbox import announce
from service.work.ends import TERMINAL
from service.work.machines import leaving

Row = TypeVar("Row", bound=Work)
EventRow = TypeVar("EventRow", bound=WorkEvent)
RequestRow = TypeVar("RequestRow", bound=WorkRequest)
EVENT_SPACING_S: Final = 1e-6


def insert_once(session: Session, row: Table) -> bool:
    """Insert a row unless an index has it already. Returns whether it is new."""
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRepository(Generic[Row, EventRow, RequestRow]):
    """The queries of one kind of work, on its own three tables."""

    rows: type[Row]
    events: type[EventRow]
    requests: type[RequestRow]
    event_prefix: str
    outline: tuple[str, ...] = ()
    """Columns that decisions need beside those that all work has."""

    def get(self, session: Session, project: str, work_id: str) -> Row | None:
        """One row."""
        return session.scalar(select(self.rows).where(self.rows.id == work_id, self.rows.project == project))

    def page(
        self,
        session: Session,
        project: str,
        *,
        after: Row | None,
        limit: int,
        metadata: dict[str, str] | None,
    ) -> list[Row]:
        """Up to ``limit`` rows, the newest first, whose metadata has every given pair."""
        rows = self.rows
        query = select(rows).where(rows.project == project)
        for key, value in (metadata or {}).items():
            query = query.where(rows.user_metadata[key].as_string() == value)
        return list(session.scalars(newest_first(query, rows, after=after).limit(limit)))

    def unfinished(self, session: Session, project: str) -> list[Row]:
        """What is not over."""
        rows = self.rows
        query = select(rows).where(rows.project == project, rows.status.not_in(TERMINAL))
        return list(session.scalars(query))

    def change(self, session: Session, row: Row, **values: Any) -> bool:
        """Compare-and-set: change a row that is as it was read and not over. Returns whether it was.

        An end is announced in the same transaction, so that no crash comes between them.
        """
        rows = self.rows
        changed = session.execute(
            update(rows)
            .where(rows.id == row.id, rows.project == row.project)
            .where(rows.version == row.version, rows.status.not_in(TERMINAL))
            .values(version=rows.version + 1, **leaving(row, values), **values)
            .execution_options(synchronize_session=False)
        )
        if cast("CursorResult[Any]", changed).rowcount != 1:
            return False
        if values.get("status") in TERMINAL:
            announce(session, row.project, events_of_end(row.id, values))
        return True

    def show_progress(self, session: Session, row: Row, attempt: int, **values: Any) -> None:
        """Change what is only displayed; decides nothing, so it takes no part in compare-and-set."""
        rows = self.rows
        session.execute(
            update(rows)
            .where(rows.id == row.id, rows.project == row.project)
            .where(rows.attempt == attempt, rows.status.not_in(TERMINAL))
            .values(**values)
            .execution_options(synchronize_session=False)
        )

    # ---- events -----------------------------------------------------------------------------

    def _event_id(self, work_id: str, attempt: int, pod: str, sequence: int) -> str:
        """The same event always has the same id."""
        digest = sha256_hex(f"{work_id}/{attempt}/{pod}/{sequence}".encode())
        return f"{self.event_prefix}-{digest[:32]}"

    def add_event(self, session: Session, row: Row, *, at: float, **values: Any) -> bool:
        """Insert an event once, as the newest of its work. Returns whether it is new.

        A job's clock is another than ours, and its events arrive late: whoever reads the newest events
        until the first that is known must not miss any, so ``at`` never goes back.
        """
        events = self.events
        newest = session.scalar(select(func.max(events.at)).where(events.work_id == row.id))
        if newest is not None:
            at = max(at, newest + EVENT_SPACING_S)
        identity = self._event_id(row.id, values["attempt"], values["pod"], values["sequence"])
        return insert_once(session, events(id=identity, work_id=row.id, at=at, **values))

    def add_events(self, session: Session, row: Row, events: Sequence[Mapping[str, Any]]) -> None:
        """Insert events as :meth:`add_event` does, in their order, with few statements for many."""
        by_id = {
            self._event_id(row.id, each["attempt"], each["pod"], each["sequence"]): each for each in events
        }
        table = self.events
        known = set(session.scalars(select(table.id).where(table.id.in_(by_id))))
        at = session.scalar(select(func.max(table.at)).where(table.work_id == row.id)) or 0.0
        rows = []
        for identity, values in by_id.items():
            if identity not in known:
                at = max(values["at"], at + EVENT_SPACING_S)
                rows.append({**values, "id": identity, "work_id": row.id, "at": at})
        if not rows:
            return
        try:
            with session.begin_nested():
                session.execute(insert(table), rows)
        except IntegrityError:  # somebody else inserts them at this moment
            for values in by_id.values():
                self.add_event(session, row, **values)

    def events_page(
        self, session: Session, row: Row, *, after: EventRow | None, limit: int
    ) -> list[EventRow]:
        """Up to ``limit`` events, the newest first."""
        events = self.events
        query = select(events).where(events.work_id == row.id)
        if after is not None:
            query = query.where(or_(events.at < after.at, and_(events.at == after.at, events.id < after.id)))
        return list(session.scalars(query.order_by(events.at.desc(), events.id.desc()).limit(limit)))

    def get_event(self, session: Session, row: Row, event: str) -> EventRow | None:
        """One event of one job or scan."""
        found = session.get(self.events, event)
        return found if found is not None and found.work_id == row.id else None

    # ---- creating requests ------------------------------------------------------------------

    def claim_request(self, session: Session, request: RequestRow) -> bool:
        """Take a request's key; the index lets one of many win. Returns whether this one did."""
        return insert_once(session, request)

    def get_request(self, session: Session, project: str, key: str) -> RequestRow | None:
        """The request that holds a key."""
        return session.get(self.requests, (project, key), populate_existing=True)

    def take_over_request(self, session: Session, held: RequestRow, request: RequestRow) -> bool:
        """Replace an expired holder of a key, unless somebody else did so first."""
        requests = self.requests
        changed = session.execute(
            update(requests)
            .where(requests.project == held.project, requests.key == held.key)
            .where(requests.work_id == held.work_id)
            .values(
                work_id=request.work_id,
                body_hash=request.body_hash,
                by_retry=request.by_retry,
                created_at=request.created_at,
            )
            .execution_options(synchronize_session=False)
        )
        return cast("CursorResult[Any]", changed).rowcount == 1
