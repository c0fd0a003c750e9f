"""Lets a project have more of something, in the transaction that makes it, or refuses.

Whoever counts holds the lock of the project's limits until what was counted is committed: of many requests at the
last place one gets it. Projects without a limit lock nothing.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from service.limits.counts import HOUR_S
from service.limits.counts import Counts
from service.limits.errors import LimitReached
from service.limits.numbers import LimitName
from service.limits.numbers import Limits
from service.limits.repository import LimitRepository
from service.limits.rows import ByteReservationRow
from service.unix_seconds import unix_seconds

RESERVED_S: Final = 24 * 3600.0
"""Of bytes, should the process that receives them die: as long as an upload may take."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """Of one project, within one writing transaction."""

    session: Session
    project: str
    defaults: Limits

    def admit_job(self) -> None:
        """One more job. Raises LimitReached."""
        self.admit_work()
        limit = self._limit("gpu_hours")
        if limit is not None and self._counts.gpu_seconds() >= limit * HOUR_S:
            raise LimitReached(
                "gpu_hours", f"This project has used its {limit} GPU hours of the last 30 days."
            )

    def admit_work(self) -> None:
        """One more job or scan. Raises LimitReached."""
        limit = self._locked_limit("unfinished_jobs")
        if limit is not None and self._counts.unfinished_jobs() >= limit:
            message = f"This project may have {limit} jobs and scans that have not ended; wait for one, or cancel it."
            raise LimitReached("unfinished_jobs", message)

    def admit_endpoint(self) -> None:
        """One more endpoint. Raises LimitReached."""
        limit = self._locked_limit("endpoints")
        if limit is not None and self._counts.endpoints() >= limit:
            raise LimitReached("endpoints", f"This project may have {limit} endpoints; remove one first.")

    def admit_bytes(self, more: int, *, param: str | None = None) -> int | None:
        """So many bytes more. Returns how many there is room for, these included; None where there is no limit.

        Raises:
            LimitReached: there is no room for them.
        """
        limit = self._locked_limit("stored_bytes")
        if limit is None:
            return None
        used = self._counts.stored_bytes()
        if more > limit - used:
            message = f"This project may store {limit} bytes and stores {used}; {more} more are too many. Delete some first."
            raise LimitReached("stored_bytes", message, param=param)
        return limit - used

    def reserve_bytes(self, file_id: str, declared: int, *, param: str | None = None) -> int | None:
        """As :meth:`admit_bytes`, and keep them for a file that is being received."""
        room = self.admit_bytes(declared, param=param)
        if room is not None:
            self.session.add(
                ByteReservationRow(
                    id=file_id, project=self.project, bytes=declared, expires_at=unix_seconds() + RESERVED_S
                )
            )
            self.session.flush()
        return room

    def settle_bytes(self, file_id: str, stored: int, *, param: str | None = None) -> None:
        """In the transaction that makes a file visible: what was reserved for it is what was stored.

        Raises:
            LimitReached: more was stored than was declared, and there is no room for it.
        """
        self.release_bytes(file_id)
        self.admit_bytes(stored, param=param)

    def release_bytes(self, file_id: str) -> None:
        """Keep nothing for a file any more."""
        self.session.execute(
            delete(ByteReservationRow).where(
                ByteReservationRow.id == file_id, ByteReservationRow.project == self.project
            )
        )

    @property
    def _counts(self) -> Counts:
        return Counts(self.session, self.project)

    def _limit(self, name: LimitName) -> int | None:
        return self.defaults.overridden(LimitRepository(self.session, self.project).own()).of(name)

    def _locked_limit(self, name: LimitName) -> int | None:
        if self._limit(name) is None:
            return None
        # Read again: it may have been changed while the lock was waited for.
        return self.defaults.overridden(LimitRepository(self.session, self.project).lock()).of(name)
