"""One of several processes leads: on a real PostgreSQL, with leaders that are cut off, paused and hung."""

import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import URL
from waiting import until

from service.database import Database
from service.leadership import AdvisoryLock
from service.leadership import Leader
from service.leadership import NotLeading

TENURE_S = 1.0
SILENCE_S = 1.5
RENEW_S = 0.1


@pytest.fixture
def url(postgres_url: str) -> URL:
    return sqlalchemy.make_url(postgres_url)


@pytest.fixture
def make_lock(url: URL) -> Iterator[Callable[..., AdvisoryLock]]:
    made: list[AdvisoryLock] = []

    def make(**more: Callable[[], float]) -> AdvisoryLock:
        made.append(AdvisoryLock(url, tenure_s=TENURE_S, silence_s=SILENCE_S, **more))
        return made[-1]

    yield make
    for lock in made:
        lock.release()


wait_for = partial(until, seconds=20.0, pause_s=0.01)


def cut_leaders(url: URL) -> None:
    """As a restart of the server does."""
    database = Database(url.render_as_string(hide_password=False))
    with database.writing() as session:
        session.execute(
            sqlalchemy.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'temper-leader'"
            )
        )
    database.close()


class Worker:
    """Leads in a thread of its own, and notes when."""

    def __init__(self, lock: AdvisoryLock, *, alive: Callable[[], bool] = lambda: True) -> None:
        self.changes: list[bool] = []
        self.working = threading.Event()
        self.stop = threading.Event()
        self.leader = Leader(lock, alive=alive, changed=self.changes.append, renew_s=RENEW_S)
        self.thread = threading.Thread(target=self.leader.run, args=(self._work, self.stop), daemon=True)

    def __enter__(self) -> "Worker":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def _work(self, lost: threading.Event) -> None:
        self.working.set()
        while not lost.is_set():
            lost.wait(0.01)
        self.working.clear()


def test_one_of_many_has_the_lock(make_lock: Callable[..., AdvisoryLock]) -> None:
    locks = [make_lock() for _ in range(5)]
    assert [lock.try_acquire() for lock in locks] == [True, False, False, False, False]
    assert [lock.held for lock in locks] == [True, False, False, False, False]
    locks[0].release()
    assert not locks[0].held
    assert not locks[0].renew()
    assert locks[3].try_acquire()


def test_a_holder_without_its_connection_holds_nothing(
    make_lock: Callable[..., AdvisoryLock], url: URL
) -> None:
    holder, other = make_lock(), make_lock()
    assert holder.try_acquire()
    assert holder.renew()
    cut_leaders(url)
    assert not holder.renew()
    assert not holder.held
    assert other.try_acquire()


def test_a_paused_holder_stops_before_another_can_begin(make_lock: Callable[..., AdvisoryLock]) -> None:
    holder, other = make_lock(), make_lock()
    assert holder.try_acquire()
    until = time.monotonic() + 20
    while not other.try_acquire():
        assert time.monotonic() < until
        believed = holder.held
        time.sleep(0.02)
    assert not believed
    assert not holder.held
    assert not holder.renew()


def test_a_holder_whose_clock_went_on_without_it_holds_nothing(
    make_lock: Callable[..., AdvisoryLock],
) -> None:
    now = 100.0
    holder = make_lock(monotonic=lambda: now)
    assert holder.try_acquire()
    now += TENURE_S / 2
    assert holder.held
    assert holder.renew()
    now += TENURE_S
    assert not holder.held


def test_the_next_one_leads_when_the_leader_ends(make_lock: Callable[..., AdvisoryLock]) -> None:
    with Worker(make_lock()) as first:
        wait_for(first.working.is_set)
        with Worker(make_lock()) as second:
            time.sleep(5 * RENEW_S)
            assert not second.working.is_set()
            with pytest.raises(NotLeading):
                second.leader.require()
            first.leader.require()
            first.stop.set()
            wait_for(second.working.is_set)
            wait_for(lambda: first.changes == [True, False])
    assert second.changes == [True, False]


def test_a_leader_that_is_cut_off_stops_and_may_lead_again(
    make_lock: Callable[..., AdvisoryLock], url: URL
) -> None:
    with Worker(make_lock()) as worker:
        wait_for(worker.working.is_set)
        cut_leaders(url)
        wait_for(lambda: worker.changes == [True, False, True])
        assert worker.working.wait(5)


def test_a_leader_that_hangs_gives_the_lock_away(make_lock: Callable[..., AdvisoryLock]) -> None:
    alive = True
    with Worker(make_lock(), alive=lambda: alive) as hung:
        wait_for(hung.working.is_set)
        alive = False
        with Worker(make_lock()) as second:
            wait_for(second.working.is_set)
            with pytest.raises(NotLeading):
                hung.leader.require()


def test_without_a_database_nobody_leads() -> None:
    nowhere = AdvisoryLock(sqlalchemy.make_url("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    with pytest.raises(psycopg.Error):
        nowhere.try_acquire()
    with Worker(nowhere) as worker:
        time.sleep(3 * RENEW_S)
    assert worker.changes == []


def test_a_former_leader_writes_nothing(postgres_url: str) -> None:
    leads = True

    def require() -> None:
        if not leads:
            raise NotLeading

    database = Database(postgres_url)
    fenced = database.fenced(require)

    def write() -> None:
        nonlocal leads
        with fenced.writing() as session:
            session.execute(sqlalchemy.text("INSERT INTO leftovers VALUES ('a', 'files/a', 0)"))
            leads = False  # while it was at work

    with pytest.raises(NotLeading):
        write()
    with pytest.raises(NotLeading), fenced.writing():
        raise AssertionError("it was let in")
    with database.reading() as session:
        assert session.scalar(sqlalchemy.text("SELECT count(*) FROM leftovers")) == 0
    database.close()
