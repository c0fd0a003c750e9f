"""Every query about limits and what is spent of them. Each method belongs to one short transaction."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.limits.numbers import WINDOW_S
from service.limits.numbers import LimitName
from service.limits.numbers import Rate
from service.limits.rows import LimitHoldRow
from service.limits.rows import LimitWindowRow
from service.limits.rows import ProjectLimitsRow
from service.unix_seconds import unix_seconds
from service.work.repository import insert_once


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """What a process may spend of a window by itself."""

    granted: int
    """0 when there is not enough left."""
    began_at: int
    ends_in_s: float
    left: int
    """Of the limit, for others and for later."""


@dataclass(frozen=True, slots=True)
class LimitRepository:
    """Limits within one transaction."""

    session: Session
    project: str

    def own(self) -> Mapping[str, int]:
        """Limits that the project has of its own."""
        row = self.session.get(ProjectLimitsRow, self.project)
        return {} if row is None else row.limits

    def lock(self) -> Mapping[str, int]:
        """The same, and nobody else counts against the project's limits until the transaction ends."""
        return self._locked().limits

    def change(self, changes: Mapping[str, int | None]) -> None:
        """Set limits; None takes the operator's default again."""
        row = self._locked()
        merged = {**row.limits, **changes}
        row.limits = {name: value for name, value in merged.items() if value is not None}

    def _locked(self) -> ProjectLimitsRow:
        query = select(ProjectLimitsRow).where(ProjectLimitsRow.project == self.project)
        query = query.with_for_update().execution_options(populate_existing=True)
        row = self.session.scalar(query)
        if row is None:
            insert_once(self.session, ProjectLimitsRow(project=self.project, limits={}))
            row = self.session.scalars(query).one()
        return row

    # ---- rates ------------------------------------------------------------------------------

    def take(self, name: Rate, *, limit: int, needed: int, wanted: int) -> Portion:
        """Take up to ``wanted`` of a limit's present window, but nothing unless there are ``needed``."""
        row, now = self._window(name), self._now()
        length_s = WINDOW_S[name]
        # Never back: should the database's clock be set back, the window only lasts longer.
        began_at = max(row.began_at, int(now // length_s) * length_s)
        if began_at > row.began_at:
            row.began_at, row.taken = began_at, 0
        left = limit - row.taken
        granted = min(wanted, left) if left >= needed else 0
        row.taken += granted
        return Portion(
            granted=granted,
            began_at=began_at,
            ends_in_s=min(began_at + length_s - now, length_s),
            left=max(left - granted, 0),
        )

    def give_back(self, name: Rate, amount: int, *, began_at: int) -> None:
        """Return what was not spent of a portion, unless its window is over."""
        row = self._window(name)
        if row.began_at == began_at:
            row.taken = max(row.taken - amount, 0)

    def taken(self, name: Rate) -> tuple[int, float]:
        """What is taken of the present window, and when that ends (Unix seconds)."""
        row, now = self.session.get(LimitWindowRow, (self.project, name)), self._now()
        length_s = WINDOW_S[name]
        began_at = int(now // length_s) * length_s
        if row is not None and row.began_at >= began_at:
            return row.taken, row.began_at + length_s
        return 0, began_at + length_s

    def _window(self, name: LimitName) -> LimitWindowRow:
        query = select(LimitWindowRow).where(
            LimitWindowRow.project == self.project, LimitWindowRow.name == name
        )
        query = query.with_for_update().execution_options(populate_existing=True)
        row = self.session.scalar(query)
        if row is None:
            insert_once(self.session, LimitWindowRow(project=self.project, name=name, began_at=0, taken=0))
            row = self.session.scalars(query).one()
        return row

    # ---- things at once -----------------------------------------------------------------------

    def hold(
        self, name: LimitName, holder: str, *, limit: int, needed: int, wanted: int, hold_s: float
    ) -> int:
        """Hold up to ``wanted`` places for ``hold_s`` seconds from now, beside those of other processes.

        Returns how many are held; 0 changes nothing, for there are fewer than ``needed``.
        """
        self._window(name)  # locked: two processes that count at the same moment would both find room
        now = self._now()
        places = min(wanted, limit - self._held_by_others(name, holder, now))
        if places < needed:
            return 0
        identity = (self.project, name, holder)
        row = self.session.get(LimitHoldRow, identity, populate_existing=True)
        if row is None:
            row = LimitHoldRow(project=self.project, name=name, holder=holder)
            self.session.add(row)
        row.places, row.expires_at = places, now + hold_s
        return places

    def let_go(self, name: LimitName, holder: str) -> None:
        """Hold no places any more."""
        self.session.execute(
            delete(LimitHoldRow).where(
                LimitHoldRow.project == self.project,
                LimitHoldRow.name == name,
                LimitHoldRow.holder == holder,
            )
        )

    def held(self, name: LimitName) -> int:
        """Places that all processes hold together."""
        return self._held_by_others(name, "", self._now())

    def _held_by_others(self, name: LimitName, holder: str, now: float) -> int:
        query = select(func.coalesce(func.sum(LimitHoldRow.places), 0)).where(
            LimitHoldRow.project == self.project,
            LimitHoldRow.name == name,
            LimitHoldRow.holder != holder,
            LimitHoldRow.expires_at > now,
        )
        return int(self.session.scalar(query) or 0)

    def _now(self) -> float:
        return float(self.session.scalar(select(unix_seconds())) or 0.0)
