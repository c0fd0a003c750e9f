"""Errands: some threads, one piece of work of a key at a time, and nobody who waits for ever."""

import threading
import time
from collections.abc import Iterator

import pytest

from service.reconcile.errands import Errands


@pytest.fixture
def errands() -> Iterator[Errands]:
    made = Errands(workers=2, at_most=3)
    yield made
    made.close()


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def test_what_an_errand_returns_is_called_by_whoever_finishes(errands: Errands) -> None:
    called: list[int] = []
    errands.begin("a", lambda: lambda: called.append(threading.get_ident()), until=soon())
    errands.begin("b", lambda: None, until=soon())
    assert errands.finish(until=soon()) == []
    assert called == [threading.get_ident()]
    assert errands.finish(until=soon()) == []
    assert len(called) == 1


def test_one_that_hangs_is_waited_for_a_moment_and_only_once(errands: Errands) -> None:
    go, called = threading.Event(), list[str]()

    def hang() -> None:
        go.wait(30)

    errands.begin("slow", hang, until=soon())
    errands.begin("fast", lambda: lambda: called.append("fast"), until=soon())
    before = time.monotonic()
    errands.finish(until=soon(0.2))
    assert called == ["fast"]
    assert errands.busy("slow")
    errands.finish(until=soon(30))
    assert time.monotonic() - before < 10
    go.set()
    errands.wait()
    errands.finish(until=soon())
    assert not errands.busy("slow")


def test_a_key_is_busy_until_it_was_finished(errands: Errands) -> None:
    go = threading.Event()
    errands.begin("a", lambda: go.wait(30) and None, until=soon())
    with pytest.raises(ValueError, match="busy"):
        errands.begin("a", lambda: None, until=soon())
    go.set()


def test_there_are_never_more_than_so_many(errands: Errands) -> None:
    go = threading.Event()
    for key in "abc":
        assert errands.begin(key, lambda: go.wait(30) and None, until=soon())
    assert not errands.begin("d", lambda: None, until=soon(0.05))
    assert not errands.busy("d")
    go.set()
    assert errands.begin("d", lambda: None, until=soon())


def test_a_defect_keeps_no_other_errand_from_being_done(errands: Errands) -> None:
    called: list[str] = []

    def break_down() -> None:
        raise ValueError("a defect")

    errands.begin("bad", break_down, until=soon())
    errands.begin("good", lambda: lambda: called.append("good"), until=soon())
    [defect] = errands.finish(until=soon())
    assert str(defect) == "a defect"
    assert called == ["good"]
