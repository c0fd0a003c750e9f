"""Listening: what was read is not read again, new pods are found, and nobody can make it read without end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.contract import layout
from deploy.contract.result import JobFailure
from deploy.store.directory import DirStore
from deploy.store.protocol import ObjectInfo
from service.reconcile import listener
from service.reconcile.listener import failures
from service.reconcile.listener import listen
from service.reconcile.listener import pods

JOB = "ftjob-a"


class CountingStore(DirStore):
    """Counts what costs money."""

    lists = gets = 0

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self.lists += 1
        return super().list(prefix, after=after)

    def get(self, key: str, *, limit_bytes: int = 16 << 20) -> bytes:
        self.gets += 1
        return super().get(key, limit_bytes=limit_bytes)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "objects")


def write(store: DirStore, pod: str, *numbers: int) -> None:
    for number in numbers:
        event = b'{"sequence":%d,"at":1.0,"message":"%d of %s","phase":"training","data":{}}\n'
        store.put(layout.event_segment_key(JOB, 1, pod, number), event % (number, number, pod.encode()))


def test_what_was_read_is_not_read_again(store: CountingStore) -> None:
    write(store, "pod", 0, 1, 2)
    first = listen(store, JOB, 1, {}, find_pods=True)
    assert [event.message for _, event in first.events] == ["0 of pod", "1 of pod", "2 of pod"]
    write(store, "pod", 3, 10)
    store.lists = store.gets = 0
    second = listen(store, JOB, 1, first.upto, find_pods=False)
    assert [event.message for _, event in second.events] == ["3 of pod", "10 of pod"]
    assert (store.lists, store.gets) == (1, 2)
    assert listen(store, JOB, 1, second.upto, find_pods=False).events == []


def test_pods_that_begin_later_are_found_whatever_their_names(store: CountingStore) -> None:
    store.put(layout.spec_key(JOB, 1), b"{}")
    for pod in ("m", "m0", "zz", "a"):
        store.put(f"{layout.pod_prefix(JOB, 1, pod)}checkpoints/x", b"")
    assert pods(store, JOB, 1) == ["a", "m", "m0", "zz"]
    write(store, "m", 0)
    heard = listen(store, JOB, 1, {"m": -1}, find_pods=True)
    write(store, "b", 0)
    heard = listen(store, JOB, 1, heard.upto, find_pods=True)
    assert [pod for pod, _ in heard.events] == ["b"]
    assert set(heard.upto) == {"a", "b", "m", "m0", "zz"}


def test_one_look_reads_only_so_much_and_the_next_goes_on(
    store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "SEGMENTS_AT_ONCE", 2)
    write(store, "pod", *range(5))
    upto: dict[str, int] = {}
    told: list[str] = []
    for full in (True, True, False):
        heard = listen(store, JOB, 1, upto, find_pods=True)
        assert heard.full is full
        upto = heard.upto
        told += [event.message for _, event in heard.events]
    assert told == [f"{number} of pod" for number in range(5)]


def test_what_is_no_segment_is_left_alone(store: CountingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "SEGMENT_BYTES", 100)
    monkeypatch.setattr(listener, "MAX_SEGMENTS", 50)
    prefix = layout.events_prefix(JOB, 1, "pod")
    for name in ("00000001.json", "1.jsonl", "00000002.jsonl/x"):
        store.put(prefix + name, b"{}")
    store.put(f"{prefix}00000003.jsonl", b"x" * 101)
    write(store, "pod", 4, 60)
    heard = listen(store, JOB, 1, {}, find_pods=True)
    assert [event.message for _, event in heard.events] == ["4 of pod"]
    assert heard.malformed == 1
    assert heard.upto == {"pod": 4}


def test_no_attempt_has_pods_without_end(store: CountingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MAX_PODS", 3)
    for number in range(6):
        write(store, f"pod-{number}", 0)
    assert len(pods(store, JOB, 1)) == 3


def test_why_starts_failed_is_read_where_it_can_be(store: CountingStore) -> None:
    said = JobFailure(exit_code=42, code="invalid_dataset", message="row 3")
    broken: dict[str, Any] = {"p1": b"not json", "p2": b"x" * (65 << 10), "p3": said.to_bytes()}
    for pod, data in broken.items():
        store.put(layout.failure_key(JOB, 1, pod), data)
    write(store, "p4", 0)
    assert failures(store, JOB, 1) == (said,)
