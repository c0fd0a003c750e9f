"""Rows of work, of its events and of the requests that created it: every query that jobs and scans share."""

from collections.abc import Collection
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
from sqlalchemy.orm import load_only
from sqlalchemy.sql.base import ExecutableOption

from deploy.contract.document import sha256_hex
from service.tables import Table
from service.tables import Work
from service.tables import WorkEvent
from service.tables import WorkRequest
from service.work.ends import TERMINAL

Row = TypeVar("Row", bound=Work)
EventRow = TypeVar("EventRow", bound=WorkEvent)
RequestRow = TypeVar("RequestRow", bound=WorkRequest)
EVENT_SPACING_S: Final = 1e-6
OUTLINE: Final = (
    "id",
    "status",
    "phase",
    "attempt",
    "next_attempt_at",
    "failures",
    "launched_at",
    "version",
)
IDS_AT_ONCE: Final = 500
"""Fewer than any database's limit on parameters."""


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

    def get(self, session: Session, work_id: str) -> Row | None:
        """One row."""
        return session.get(self.rows, work_id)

    def page(
        self, session: Session, *, after: Row | None, limit: int, metadata: dict[str, str] | None
    ) -> list[Row]:
        """Up to ``limit`` rows, the newest first, whose metadata has every given pair."""
        rows = self.rows
        query = select(rows).order_by(rows.created_at.desc(), rows.id.desc())
        for key, value in (metadata or {}).items():
            query = query.where(rows.user_metadata[key].as_string() == value)
        if after is not None:
            query = query.where(
                or_(
                    rows.created_at < after.created_at,
                    and_(rows.created_at == after.created_at, rows.id < after.id),
                )
            )
        return list(session.scalars(query.limit(limit)))

    def outlines_of_unfinished(self, session: Session) -> list[Row]:
        """What is not over, the oldest first; only the columns that decisions need can be read."""
        query = select(self.rows).where(self.rows.status.not_in(TERMINAL)).options(self._outlined())
        return list(session.scalars(query.order_by(self.rows.created_at, self.rows.id)))

    def outlines(self, session: Session, ids: Collection[str]) -> list[Row]:
        """Likewise of these, over or not."""
        found: list[Row] = []
        wanted = sorted(ids)
        for start in range(0, len(wanted), IDS_AT_ONCE):
            some = wanted[start : start + IDS_AT_ONCE]
            found += session.scalars(
                select(self.rows).where(self.rows.id.in_(some)).options(self._outlined())
            )
        return found

    def _outlined(self) -> ExecutableOption:
        columns = (getattr(self.rows, name) for name in (*OUTLINE, *self.outline))
        return load_only(*columns, raiseload=True)

    def change(self, session: Session, row: Row, **values: Any) -> bool:
        """Compare-and-set: change a row that is as it was read and not over. Returns whether it was."""
        rows = self.rows
        changed = session.execute(
            update(rows)
            .where(rows.id == row.id, rows.version == row.version, rows.status.not_in(TERMINAL))
            .values(version=rows.version + 1, **values)
            .execution_options(synchronize_session=False)
        )
        return cast("CursorResult[Any]", changed).rowcount == 1

    def show_progress(self, session: Session, work_id: str, attempt: int, **values: Any) -> None:
        """Change what is only displayed; decides nothing, so it takes no part in compare-and-set."""
        rows = self.rows
        session.execute(
            update(rows)
            .where(rows.id == work_id, rows.attempt == attempt, rows.status.not_in(TERMINAL))
            .values(**values)
            .execution_options(synchronize_session=False)
        )

    # ---- events -----------------------------------------------------------------------------

    def event_id(self, work_id: str, attempt: int, pod: str, sequence: int) -> str:
        """The same event always has the same id."""
        digest = sha256_hex(f"{work_id}/{attempt}/{pod}/{sequence}".encode())
        return f"{self.event_prefix}-{digest[:32]}"

    def add_event(self, session: Session, *, work_id: str, at: float, **values: Any) -> bool:
        """Insert an event once, as the newest of its work. Returns whether it is new.

        A job's clock is another than ours, and its events arrive late: whoever reads the newest events
        until the first that is known must not miss any, so ``at`` never goes back.
        """
        events = self.events
        newest = session.scalar(select(func.max(events.at)).where(events.work_id == work_id))
        if newest is not None:
            at = max(at, newest + EVENT_SPACING_S)
        identity = self.event_id(work_id, values["attempt"], values["pod"], values["sequence"])
        return insert_once(session, events(id=identity, work_id=work_id, at=at, **values))

    def add_events(self, session: Session, work_id: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Insert events as :meth:`add_event` does, in their order, with few statements for many."""
        by_id = {
            self.event_id(work_id, each["attempt"], each["pod"], each["sequence"]): each for each in events
        }
        table = self.events
        known = set(session.scalars(select(table.id).where(table.id.in_(by_id))))
        at = session.scalar(select(func.max(table.at)).where(table.work_id == work_id)) or 0.0
        rows = []
        for identity, values in by_id.items():
            if identity not in known:
                at = max(values["at"], at + EVENT_SPACING_S)
                rows.append({**values, "id": identity, "work_id": work_id, "at": at})
        if not rows:
            return
        try:
            with session.begin_nested():
                session.execute(insert(table), rows)
        except IntegrityError:  # somebody else inserts them at this moment
            for values in by_id.values():
                self.add_event(session, work_id=work_id, **values)

    def events_page(
        self, session: Session, work_id: str, *, after: EventRow | None, limit: int
    ) -> list[EventRow]:
        """Up to ``limit`` events, the newest first."""
        events = self.events
        query = select(events).where(events.work_id == work_id)
        if after is not None:
            query = query.where(or_(events.at < after.at, and_(events.at == after.at, events.id < after.id)))
        return list(session.scalars(query.order_by(events.at.desc(), events.id.desc()).limit(limit)))

    def get_event(self, session: Session, work_id: str, event: str) -> EventRow | None:
        """One event of one job or scan."""
        row = session.get(self.events, event)
        return row if row is not None and row.work_id == work_id else None

    # ---- creating requests ------------------------------------------------------------------

    def claim_request(self, session: Session, request: RequestRow) -> bool:
        """Take a request's key; the index lets one of many win. Returns whether this one did."""
        return insert_once(session, request)

    def get_request(self, session: Session, key: str) -> RequestRow | None:
        """The request that holds a key."""
        return session.get(self.requests, key, populate_existing=True)

    def take_over_request(self, session: Session, held: RequestRow, request: RequestRow) -> bool:
        """Replace an expired holder of a key, unless somebody else did so first."""
        requests = self.requests
        changed = session.execute(
            update(requests)
            .where(requests.key == held.key, requests.work_id == held.work_id)
            .values(
                work_id=request.work_id,
                body_hash=request.body_hash,
                by_retry=request.by_retry,
                created_at=request.created_at,
            )
            .execution_options(synchronize_session=False)
        )
        return cast("CursorResult[Any]", changed).rowcount == 1
