"""From an API key to who holds it: the one question that is asked before the project is known.

Expiry and revocation are decided by the database's clock, so that a process whose own clock is off decides the same.
An answer is remembered for :data:`REMEMBERED_S`: a revocation takes effect within that time in every process.
"""

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Final
from typing import cast

from sqlalchemy import and_
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.database import Database
from service.projects.principal import Principal
from service.projects.principal import Scope
from service.projects.secret import DUMMY
from service.projects.secret import Secret
from service.tables import ApiKeyRow
from service.tables import ProjectRow
from service.unix_seconds import unix_seconds
from service.unix_seconds import whole_unix_seconds

REMEMBERED_S: Final = 4.0
"""Less than the 5 s that a revocation may take; without it every request would ask the database."""
MOST_REMEMBERED: Final = 10_000
USED_EVERY_S: Final = 60
"""``last_used_at`` is written this often at most."""


@dataclass(slots=True)
class _Known:
    principal: Principal
    until: float


@dataclass(slots=True)
class KnownKeys:
    """Keys that were good a moment ago, by the hash of the whole key. Thread-safe."""

    monotonic: Callable[[], float] = time.monotonic
    _known: OrderedDict[tuple[str, str], _Known] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, secret: Secret) -> Principal | None:
        """Who holds the key, if that was asked a moment ago."""
        with self._lock:
            known = self._known.get((secret.key_id, secret.sha256))
        return known.principal if known is not None and self.monotonic() < known.until else None

    def keep(self, secret: Secret, principal: Principal, *, asked_at: float, lasts_s: float) -> None:
        """Remember an answer to a question that was asked then, no longer than the key lasts."""
        with self._lock:
            until = asked_at + min(REMEMBERED_S, lasts_s)
            self._known[secret.key_id, secret.sha256] = _Known(principal, until)
            self._known.move_to_end((secret.key_id, secret.sha256))
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)


def find_principal(database: Database, known: KnownKeys, secret: Secret | None) -> Principal | None:
    """Who holds a key; None for one that is malformed, unknown, wrong, expired, revoked or of an archived project.

    Each of those costs the same: one query and one comparison.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.
    """
    remembered = None if secret is None else known.get(secret)
    if remembered is not None:
        return remembered
    asked_at = known.monotonic()
    asked = secret or DUMMY
    with database.reading() as session:
        found = _look(session, asked.key_id)
    row, left_s, unused_s = found if found is not None else (None, 0.0, 0.0)
    right = hmac.compare_digest(asked.sha256, DUMMY.sha256 if row is None else row.secret_sha256)
    if secret is None or row is None or not right:
        return None
    principal = Principal(
        project=row.project, key_id=row.id, scopes=frozenset(cast("list[Scope]", row.scopes))
    )
    known.keep(secret, principal, asked_at=asked_at, lasts_s=left_s)
    if unused_s >= USED_EVERY_S:
        _note_use(database, row.id)
    return principal


def _look(session: Session, key_id: str) -> tuple[ApiKeyRow, float, float] | None:
    """A key that is good now, the seconds until it expires, and those since it was last used."""
    now = unix_seconds()
    good = and_(
        ApiKeyRow.revoked_at.is_(None),
        or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now),
        ProjectRow.archived_at.is_(None),
    )
    query = select(ApiKeyRow, ApiKeyRow.expires_at - now, now - ApiKeyRow.last_used_at)
    query = query.join(ProjectRow, ProjectRow.id == ApiKeyRow.project).where(ApiKeyRow.id == key_id, good)
    found = session.execute(query).first()
    if found is None:
        return None
    row, left_s, unused_s = found
    return row, float("inf") if left_s is None else left_s, float("inf") if unused_s is None else unused_s


def _note_use(database: Database, key_id: str) -> None:
    long_ago = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at <= unix_seconds() - USED_EVERY_S)
    try:
        with database.writing() as session:
            session.execute(
                update(ApiKeyRow)
                .where(ApiKeyRow.id == key_id, long_ago)
                .values(last_used_at=whole_unix_seconds())
                .execution_options(synchronize_session=False)
            )
    except SQLAlchemyError:
        # Only shown. A database that takes no writes still lets its users read.
        return


def is_open_project(session: Session, project: str) -> bool:
    """Whether there is such a project, and it is not archived."""
    query = select(ProjectRow.id).where(ProjectRow.id == project, ProjectRow.archived_at.is_(None))
    return session.scalar(query) is not None
