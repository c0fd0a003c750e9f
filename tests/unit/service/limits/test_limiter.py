"""Limits of a project that several processes spend together: never more than the limit, and little less."""

import asyncio
import threading
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from service.context import Context
from service.database import Database
from service.limits import repository as limit_repository
from service.limits.accounts import PlacesAccount
from service.limits.accounts import RateAccount
from service.limits.errors import LimitReached
from service.limits.limiter import HOLD_S
from service.limits.limiter import KNOWN_FOR_S
from service.limits.limiter import Limiter
from service.limits.limiter import ratelimit_headers
from service.limits.numbers import Limits
from service.limits.numbers import Rate
from service.limits.repository import LimitRepository

PER_MINUTE: Rate = "requests_per_minute"


@dataclass
class Time:
    """The monotonic clock of the processes, and that of the database, which goes with it."""

    now: float = 1_000_000_020.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now - 999_999_000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(LimitRepository, "_now", lambda _self: made.now)
    return made


@pytest.fixture
def make_limiter(context: Context, time: Time) -> Iterator[Callable[..., Limiter]]:
    """Another process on the same database: ``make_limiter(requests_per_minute=10)``."""
    with ExitStack() as made:

        def make(**limits: int) -> Limiter:
            database = made.enter_context(closing(Database(context.settings.database_url)))
            return Limiter(database, Limits(**limits), monotonic=time.monotonic)

        yield make


def admitted(limiters: list[Limiter], *, tries: int, project: str = "one") -> int:
    """How many of many requests at once are let through."""

    def ask(number: int) -> bool:
        try:
            limiters[number % len(limiters)].take_now(project, PER_MINUTE)
        except LimitReached:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(ask, range(tries)))


def test_a10_three_processes_admit_a_limit_between_them(make_limiter: Callable[..., Limiter]) -> None:
    limiters = [make_limiter(requests_per_minute=100) for _ in range(3)]
    found = admitted(limiters, tries=300)
    # What one process was handed and did not need is out of the others' reach until the window ends.
    assert 100 - 2 * 100 // 16 <= found <= 100


def test_a10_one_process_admits_exactly_its_limit(make_limiter: Callable[..., Limiter]) -> None:
    limiter = make_limiter(requests_per_minute=37)
    assert admitted([limiter], tries=120) == 37


def test_a10_another_project_is_not_affected(make_limiter: Callable[..., Limiter]) -> None:
    limiter = make_limiter(requests_per_minute=5)
    assert admitted([limiter], tries=20) == 5
    assert admitted([limiter], tries=20, project="two") == 5


def test_a10_a_new_window_begins_by_the_databases_clock(
    make_limiter: Callable[..., Limiter], time: Time
) -> None:
    limiter = make_limiter(requests_per_minute=5)
    assert admitted([limiter], tries=20) == 5
    with pytest.raises(LimitReached) as refused:
        limiter.take_now("one", PER_MINUTE)
    assert refused.value.code == "requests_per_minute_exceeded"
    wait_s = int(refused.value.headers["retry-after"])
    assert 0 < wait_s <= 60
    assert "x-should-retry" not in refused.value.headers
    time.now += wait_s - 1.5
    assert admitted([limiter], tries=20) == 0
    time.now += 1.5
    assert admitted([limiter], tries=20) == 5


def test_h2_a_database_whose_clock_goes_back_grants_no_second_window(
    make_limiter: Callable[..., Limiter], time: Time
) -> None:
    assert admitted([make_limiter(requests_per_minute=5)], tries=9) == 5
    time.now -= 3600
    assert admitted([make_limiter(requests_per_minute=5)], tries=9) == 0


def test_a_request_costs_no_write(make_limiter: Callable[..., Limiter]) -> None:
    limiter = make_limiter(requests_per_minute=1600)
    limiter.take_now("one", PER_MINUTE)
    writes = _counting(limiter)
    for _ in range(99):
        limiter.take_now("one", PER_MINUTE)
    assert writes == []
    assert admitted([limiter], tries=5) == 5
    assert len(writes) == 1


def test_a_flood_of_refused_requests_asks_twice_a_second(make_limiter: Callable[..., Limiter]) -> None:
    limiter = make_limiter(requests_per_minute=3)
    admitted([limiter], tries=10)
    writes = _counting(limiter)
    assert admitted([limiter], tries=100) == 0
    assert writes == []


def _counting(limiter: Limiter) -> list[None]:
    """Grows with every writing transaction from now on."""
    writes: list[None] = []
    database = limiter._database
    begin = database.writing

    def counted() -> Any:
        writes.append(None)
        return begin()

    database.writing = counted  # type: ignore[method-assign]
    return writes


def test_without_a_limit_nothing_is_counted(make_limiter: Callable[..., Limiter]) -> None:
    limiter = make_limiter()
    writes = _counting(limiter)
    assert limiter.take_now("one", PER_MINUTE) is None
    assert limiter.enter_now("one") is None
    assert asyncio.run(limiter.enter("one")) is None
    asyncio.run(limiter.reserve("one", 10**9)).settle(5)
    assert writes == []


def test_a_projects_own_limit_takes_effect_in_seconds(
    context: Context, make_limiter: Callable[..., Limiter], time: Time
) -> None:
    limiter = make_limiter(requests_per_minute=5)
    assert admitted([limiter], tries=9) == 5
    with context.database.writing() as session:
        LimitRepository(session, "one").change({"requests_per_minute": 7, "endpoints": 1})
    time.now += KNOWN_FOR_S
    assert admitted([limiter], tries=9) == 2
    with context.database.writing() as session:
        LimitRepository(session, "one").change({"requests_per_minute": None})
    time.now += KNOWN_FOR_S
    assert limiter.limits("one") == Limits(requests_per_minute=5, endpoints=1)
    assert admitted([limiter], tries=9) == 0


def test_headers_are_openais(make_limiter: Callable[..., Limiter]) -> None:
    limiter = make_limiter(requests_per_minute=5)
    standing = limiter.take_now("one", PER_MINUTE)
    assert standing is not None
    headers = ratelimit_headers(standing)
    assert headers["x-ratelimit-limit-requests"] == "5"
    assert headers["x-ratelimit-remaining-requests"] == "4"
    assert 0 < float(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60


# ---- things at once -----------------------------------------------------------------------


def test_a10_places_are_shared_by_processes(make_limiter: Callable[..., Limiter]) -> None:
    first, second = (make_limiter(requests_at_once=3) for _ in range(2))
    leave = [first.enter_now("one"), second.enter_now("one"), first.enter_now("one")]
    for limiter in (first, second):
        with pytest.raises(LimitReached) as refused:
            limiter.enter_now("one")
        assert refused.value.code == "requests_at_once_exceeded"
        assert refused.value.headers["retry-after"] == "1"
    assert second.enter_now("two") is not None
    assert leave[0] is not None
    leave[0]()
    assert first.enter_now("one") is not None


def test_places_that_are_free_are_returned(make_limiter: Callable[..., Limiter], time: Time) -> None:
    first, second = (make_limiter(requests_at_once=2) for _ in range(2))
    leaves = [first.enter_now("one"), first.enter_now("one")]
    for leave in leaves:
        assert leave is not None
        leave()
    with pytest.raises(LimitReached):
        second.enter_now("one")
    first.step()
    time.now += 1
    assert second.enter_now("one") is not None


def test_a_process_that_dies_holds_its_places_for_a_minute(
    make_limiter: Callable[..., Limiter], time: Time
) -> None:
    dead, alive, other = (make_limiter(requests_at_once=2) for _ in range(3))
    assert dead.enter_now("one") is not None
    assert alive.enter_now("one") is not None
    time.now += HOLD_S - 1
    alive.step()
    with pytest.raises(LimitReached):
        other.enter_now("one")
    time.now += 2
    assert other.enter_now("one") is not None
    with pytest.raises(LimitReached):
        other.enter_now("one")


def test_many_threads_never_hold_more_than_the_limit(make_limiter: Callable[..., Limiter]) -> None:
    limiters = [make_limiter(requests_at_once=5) for _ in range(2)]
    inside, most, lock = 0, 0, threading.Lock()

    def visit(number: int) -> None:
        nonlocal inside, most
        try:
            leave = limiters[number % 2].enter_now("one")
        except LimitReached:
            return
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1
        assert leave is not None
        leave()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(visit, range(200)))
    assert 1 <= most <= 5


# ---- tokens -------------------------------------------------------------------------------


def reserve_all(limiters: list[Limiter], tokens: int, *, tries: int) -> list[Any]:
    """The reservations that many requests at once get."""

    def ask(number: int) -> Any:
        try:
            return asyncio.run(limiters[number % len(limiters)].reserve("one", tokens))
        except LimitReached:
            return None

    with ThreadPoolExecutor(16) as pool:
        return [each for each in pool.map(ask, range(tries)) if each is not None]


def test_j6_the_last_tokens_are_reserved_once(make_limiter: Callable[..., Limiter]) -> None:
    limiters = [make_limiter(tokens_per_day=1000) for _ in range(2)]
    assert 1 <= len(reserve_all(limiters, 300, tries=50)) <= 3


def test_what_was_not_spent_can_be_spent(make_limiter: Callable[..., Limiter], time: Time) -> None:
    limiter = make_limiter(tokens_per_minute=1000, tokens_per_day=2000)
    (reservation,) = reserve_all([limiter], 900, tries=3)
    reservation.settle(100)
    reservation.settle(0)  # once is enough
    time.now += 1
    (reservation,) = reserve_all([limiter], 900, tries=3)
    reservation.settle(1200)  # more than was thought: the next ones pay for it
    time.now += 60
    assert reserve_all([limiter], 701, tries=1) == []
    assert len(reserve_all([limiter], 700, tries=2)) == 1


def test_a_day_that_is_used_up_is_not_waited_for(make_limiter: Callable[..., Limiter]) -> None:
    limiter = make_limiter(tokens_per_minute=10**9, tokens_per_day=100)
    with pytest.raises(LimitReached) as refused:
        asyncio.run(limiter.reserve("one", 101))
    assert refused.value.code == "tokens_per_day_exceeded"
    assert refused.value.headers == {"x-should-retry": "false"}
    asyncio.run(limiter.reserve("one", 100))
    with pytest.raises(LimitReached) as refused:
        asyncio.run(limiter.reserve("one", 1))
    assert int(refused.value.headers["retry-after"]) > 120
    assert refused.value.headers["x-should-retry"] == "false"


def test_idle_tokens_of_a_day_come_within_reach_of_other_processes(
    make_limiter: Callable[..., Limiter], time: Time
) -> None:
    idle, busy = (make_limiter(tokens_per_day=1600) for _ in range(2))
    asyncio.run(idle.reserve("one", 1))
    assert len(reserve_all([busy], 100, tries=30)) < 16
    time.now += 20
    idle.step()
    assert len(reserve_all([busy], 99, tries=5)) >= 1


def test_an_ending_process_returns_what_it_did_not_spend(
    make_limiter: Callable[..., Limiter], context: Context
) -> None:
    limiter = make_limiter(requests_per_minute=160)
    with limiter.keeping():
        limiter.take_now("one", PER_MINUTE)
        assert limiter.enter_now("one") is None
    with context.database.reading() as session:
        taken, ends_at = LimitRepository(session, "one").taken(PER_MINUTE)
    assert taken == 1
    assert ends_at % 60 == 0


@given(
    steps=st.lists(st.tuples(st.sampled_from(["spend", "put", "settle"]), st.integers(1, 20)), max_size=40)
)
@hypothesis_settings(deadline=None)
def test_an_account_spends_what_it_was_given(steps: list[tuple[str, int]]) -> None:
    account, given_out, spent = RateAccount(), 0, 0
    for what, amount in steps:
        if what == "put":
            account.put(amount, limit=10**6, left=0, began_at=0, valid_until=1.0)
            given_out += amount
        elif what == "settle" and spent >= amount:
            account.settle(amount, began_at=0, now=0.0)
            spent -= amount
        elif what == "spend" and account.spend(amount, 0.0):
            spent += amount
    assert spent <= given_out
    assert account.balance(0.0) == given_out - spent
    assert not account.spend(1, 1.0)


def test_a_place_is_only_taken_while_it_is_held() -> None:
    account = PlacesAccount()
    assert not account.enter(0.0)
    account.put(1, valid_until=5.0)
    assert account.enter(1.0)
    assert not account.enter(1.0)
    account.leave()
    assert not account.enter(5.0)


def test_windows_are_of_the_databases_clock(context: Context) -> None:
    with context.database.reading() as session:
        now = context.database.now()
        assert abs(limit_repository.LimitRepository(session, "one").taken(PER_MINUTE)[1] - now) <= 60
