"""Lets requests through, as many as their project's limits allow, in all processes together.

A limit's row says how much of its window is taken. A process takes a portion of it in one short transaction and
spends that by itself: a request costs no write, and however many processes there are, they cannot spend more than
the row gave out. Portions are small (a sixteenth of a limit at most) and become smaller as the window fills, so that
little is out of reach of the process that needs it; what is idle is returned, the rest lapses with its window.

Covers: any number of processes, one that dies (its places are free after a minute, its portion with the window),
clocks of machines that are wrong (only the database's counts), a database that is away (nothing beyond the portion).
Does not cover: a process that is cut off from the database for longer than a minute while its requests go on; their
places may be taken by others then.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError

from service.database import Database
from service.limits.accounts import PlacesAccount
from service.limits.accounts import RateAccount
from service.limits.errors import LimitReached
from service.limits.numbers import WINDOW_S
from service.limits.numbers import Limits
from service.limits.numbers import Rate
from service.limits.repository import LimitRepository
from service.supervision import kept_doing

logger = logging.getLogger(__name__)
KNOWN_FOR_S: Final = 5.0
"""After which a project's limits are read again: a change takes effect within this time."""
SHARE: Final = 16
"""A portion is at most this part of a limit, and at most a quarter of what is left."""
HOLD_S: Final = 60.0
KEEP_EVERY_S: Final = 10.0
"""Between two renewals of what is held; what was idle for so long is returned."""
REFUSED_FOR_S: Final = 0.5
"""So long nobody asks again, unless for less: a flood of refused requests costs two questions a second."""
MOST_PROJECTS: Final = 10_000
AT_ONCE: Final = "requests_at_once"
_SAID: Final = {
    "requests_per_minute": "requests per minute",
    "tokens_per_minute": "tokens per minute",
    "tokens_per_day": "tokens per day",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a project is with a limit."""

    limit: int
    remaining: int
    resets_in_s: float


class Reservation:
    """Tokens that are reserved before they are spent. Settle it once; a second time does nothing."""

    def __init__(self, limiter: "Limiter", project: str, tokens: int, taken: dict[Rate, int]) -> None:
        self.tokens = tokens
        self._limiter = limiter
        self._project = project
        self._taken: dict[Rate, int] | None = taken

    def settle(self, spent: int) -> None:
        """Say how many tokens it were in the end: the rest may be spent by others, what is more is paid for."""
        taken, self._taken = self._taken, None
        for name, began_at in (taken or {}).items():
            self._limiter.settle(self._project, name, self.tokens - spent, began_at=began_at)


class Limiter:
    """The limits of all projects in one process. Thread-safe.

    Args:
        database: that all processes share.
        defaults: of projects that have no limits of their own.
        monotonic: of this process; tests own it.
    """

    def __init__(
        self, database: Database, defaults: Limits, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._defaults = defaults
        self._monotonic = monotonic
        self._holder = secrets.token_hex(10)
        self._lock = threading.Lock()
        self._limits: dict[str, tuple[float, Limits]] = {}
        self._rates: dict[tuple[str, Rate], RateAccount] = {}
        self._places: dict[str, PlacesAccount] = {}

    # ---- rates --------------------------------------------------------------------------------

    async def take(self, project: str, name: Rate, amount: int = 1) -> Standing | None:
        """Spend of a rate. Returns where the project is with it; None where there is no limit.

        Raises:
            LimitReached: there is not enough left.
            sqlalchemy.exc.SQLAlchemyError: there may be, but the database does not answer.
        """
        spent, standing = self._spend(project, name, amount)
        return standing if spent else await run_sync(self.take_now, project, name, amount)

    def take_now(self, project: str, name: Rate, amount: int = 1) -> Standing | None:
        """As :meth:`take`, in a thread that may wait for the database."""
        limit = self.limits(project).of(name)
        if limit is None:
            return None
        account = self._rate(project, name)
        now = self._monotonic()
        if not account.spend(amount, now):
            with account.asking:
                if not account.spend(amount, self._monotonic()):
                    self._ask(project, name, account, amount=amount, limit=limit)
        return self._standing(account)

    def _spend(self, project: str, name: Rate, amount: int) -> tuple[bool, Standing | None]:
        """Spend without asking the database. Whether that could be done."""
        known = self._limits.get(project)
        now = self._monotonic()
        if known is None or now >= known[0]:
            return False, None
        if known[1].of(name) is None:
            return True, None
        account = self._rate(project, name)
        return account.spend(amount, now), self._standing(account)

    def _standing(self, account: RateAccount) -> Standing:
        resets_in_s = max(account.valid_until - self._monotonic(), 0.0)
        return Standing(limit=account.limit, remaining=account.remaining(), resets_in_s=resets_in_s)

    def _ask(self, project: str, name: Rate, account: RateAccount, *, amount: int, limit: int) -> None:
        asked = self._monotonic()
        if account.is_refused(amount, asked):
            raise self._reached(name, account, amount, limit)
        for _ in range(2):  # a window may end between the look at what is there and the question
            if not self._fetch(project, name, account, amount=amount, limit=limit):
                break
            if account.spend(amount, self._monotonic()):
                return
        account.refuse(amount, until=min(asked + REFUSED_FOR_S, account.valid_until))
        raise self._reached(name, account, amount, limit)

    def _fetch(self, project: str, name: Rate, account: RateAccount, *, amount: int, limit: int) -> bool:
        """Take a portion. Returns whether there was one."""
        asked = self._monotonic()
        needed = amount - account.balance(asked)
        usual = account.left // 4 if asked < account.valid_until else limit
        wanted = max(needed, min(limit // SHARE, usual))
        with self._database.writing() as session:
            portion = LimitRepository(session, project).take(name, limit=limit, needed=needed, wanted=wanted)
        account.put(
            portion.granted,
            limit=limit,
            left=portion.left,
            began_at=portion.began_at,
            valid_until=asked + portion.ends_in_s,
        )
        return portion.granted > 0

    def _reached(self, name: Rate, account: RateAccount, amount: int, limit: int) -> LimitReached:
        standing = self._standing(account)
        said = f"This project may use {limit} {_SAID[name]}"
        if amount > limit:
            return LimitReached(name, f"{said}; this request alone needs {amount}.")
        wait_s = standing.resets_in_s
        message = f"{said}; {standing.remaining} are left for the next {wait_s:.0f} s."
        headers = ratelimit_headers(standing) if name == "requests_per_minute" else {}
        return LimitReached(name, message, retry_after_s=wait_s, headers=headers)

    # ---- tokens -------------------------------------------------------------------------------

    async def reserve(self, project: str, tokens: int) -> Reservation:
        """Reserve tokens of the minute and of the day; settle them when it is known how many were spent.

        Raises:
            LimitReached: there are not so many left.
            sqlalchemy.exc.SQLAlchemyError: there may be, but the database does not answer.
        """
        taken: dict[Rate, int] = {}
        reservation = Reservation(self, project, tokens, taken)
        names: tuple[Rate, ...] = ("tokens_per_minute", "tokens_per_day")
        try:
            for name in names:
                if await self.take(project, name, tokens) is not None:
                    taken[name] = self._rate(project, name).began_at
        except BaseException:
            reservation.settle(0)
            raise
        return reservation

    def settle(self, project: str, name: Rate, amount: int, *, began_at: int) -> None:
        """Return tokens that were reserved and not spent; a negative amount was spent beyond."""
        self._rate(project, name).settle(amount, began_at=began_at, now=self._monotonic())

    # ---- things at once -----------------------------------------------------------------------

    async def enter(self, project: str) -> Callable[[], None] | None:
        """Take a place among the project's requests at once. Returns what frees it; None where there is no limit.

        Raises:
            LimitReached: all places are taken.
            sqlalchemy.exc.SQLAlchemyError: there may be one, but the database does not answer.
        """
        known = self._limits.get(project)
        if known is not None and self._monotonic() < known[0]:
            if known[1].requests_at_once is None:
                return None
            account = self._place(project)
            if account.enter(self._monotonic()):
                return account.leave
        return await run_sync(self.enter_now, project)

    def enter_now(self, project: str) -> Callable[[], None] | None:
        """As :meth:`enter`, in a thread that may wait for the database."""
        limit = self.limits(project).requests_at_once
        if limit is None:
            return None
        account = self._place(project)
        if not account.enter(self._monotonic()):
            with account.asking:
                if not account.enter(self._monotonic()):
                    self._hold(project, account, limit)
        return account.leave

    def _hold(self, project: str, account: PlacesAccount, limit: int) -> None:
        asked = self._monotonic()
        held = 0
        needed = account.in_use + 1
        if needed <= limit and asked >= account.refused_until:
            wanted = max(needed, needed - 1 + limit // SHARE)
            with self._database.writing() as session:
                held = LimitRepository(session, project).hold(
                    AT_ONCE, self._holder, limit=limit, needed=needed, wanted=wanted, hold_s=HOLD_S
                )
            if held:
                account.put(held, valid_until=asked + HOLD_S)
            else:
                account.refused_until = asked + REFUSED_FOR_S
        if not held or not account.enter(asked):
            message = f"This project may have {limit} requests at once."
            raise LimitReached(AT_ONCE, message, retry_after_s=1.0)

    # ---- what is known --------------------------------------------------------------------------

    def limits(self, project: str) -> Limits:
        """Of a project; some seconds old. Raises sqlalchemy.exc.SQLAlchemyError."""
        known, now = self._limits.get(project), self._monotonic()
        if known is not None and now < known[0]:
            return known[1]
        with self._database.reading() as session:
            found = self._defaults.overridden(LimitRepository(session, project).own())
        with self._lock:
            if len(self._limits) >= MOST_PROJECTS:
                self._limits.clear()
            self._limits[project] = (now + KNOWN_FOR_S, found)
        return found

    def _rate(self, project: str, name: Rate) -> RateAccount:
        account = self._rates.get((project, name))
        if account is None:
            with self._lock:
                account = self._rates.setdefault((project, name), RateAccount())
        return account

    def _place(self, project: str) -> PlacesAccount:
        account = self._places.get(project)
        if account is None:
            with self._lock:
                account = self._places.setdefault(project, PlacesAccount())
        return account

    # ---- beside the requests --------------------------------------------------------------------

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Renew and return in a thread, for as long as the block lasts; then return everything."""
        try:
            with kept_doing("limits", self.step, every_s=KEEP_EVERY_S):
                yield
        finally:
            self.step(ending=True)

    def step(self, *, ending: bool = False) -> None:
        """Renew the places that are in use, return those that are not, and portions that nobody spends."""
        try:
            for project, places in list(self._places.items()):
                self._renew(project, places)
            for (project, name), account in list(self._rates.items()):
                self._return(project, name, account, ending=ending)
        except SQLAlchemyError as error:
            # What is not renewed lapses here before it does in the database.
            logger.warning("limits could not be renewed: %s", type(error).__name__)

    def _renew(self, project: str, account: PlacesAccount) -> None:
        with account.asking:
            asked = self._monotonic()
            if not account.held:
                return
            with account.lock:  # nobody enters by a place that is about to be returned
                in_use = account.held = account.in_use
            with self._database.writing() as session:
                limits = LimitRepository(session, project)
                if in_use == 0:
                    limits.let_go(AT_ONCE, self._holder)
                    return
                limits.hold(AT_ONCE, self._holder, limit=1 << 53, needed=in_use, wanted=in_use, hold_s=HOLD_S)
            account.put(in_use, valid_until=asked + HOLD_S)

    def _return(self, project: str, name: Rate, account: RateAccount, *, ending: bool) -> None:
        now = self._monotonic()
        idle = now - account.spent_at >= KEEP_EVERY_S and WINDOW_S[name] > WINDOW_S["requests_per_minute"]
        if not (ending or idle):
            return
        spare, began_at = account.empty(now)
        if spare:
            with self._database.writing() as session:
                LimitRepository(session, project).give_back(name, spare, began_at=began_at)


def ratelimit_headers(standing: Standing) -> dict[str, str]:
    """What OpenAI's clients read of a limit on requests."""
    return {
        "x-ratelimit-limit-requests": str(standing.limit),
        "x-ratelimit-remaining-requests": str(standing.remaining),
        "x-ratelimit-reset-requests": f"{standing.resets_in_s:.3f}s",
    }
