"""The picture that watching threads keep, and what becomes of it when the API server misbehaves."""

import time
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from waiting import until

from deploy.kubernetes.client import KubernetesClient
from deploy.kubernetes.client import Object
from deploy.kubernetes.errors import KubernetesUnavailable
from deploy.kubernetes.kinds import PODS
from deploy.kubernetes.watched import WatchedObjects
from deploy.kubernetes.watched import without_managed_fields
from tests.stand_ins.kubernetes_api import FakeCluster

KEY = ("v1", "pods", "jobs")


@pytest.fixture
def client(fake_cluster: FakeCluster) -> Iterator[KubernetesClient]:
    made = fake_cluster.client(timeout_s=1)
    yield made
    made.close()


@pytest.fixture
def watch(client: KubernetesClient) -> Iterator[Callable[..., WatchedObjects]]:
    made: list[WatchedObjects] = []

    def build(**options: Any) -> WatchedObjects:
        given = {"selector": "app=ours", "longest_wait_s": 0.1, "silence_s": 1.0, **options}
        made.append(WatchedObjects(client, PODS, "jobs", **given))
        return made[-1]

    yield build
    for each in made:
        each.close()


def pod(name: str, app: str = "ours") -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}}


eventually = partial(until, seconds=10.0, pause_s=0.01)


def lists(cluster: FakeCluster) -> int:
    return [method for method, _ in cluster.requests].count("GET")


def test_lists_then_watches(fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]) -> None:
    fake_cluster.create(KEY, pod("a"))
    fake_cluster.create(KEY, pod("foreign", app="theirs"))
    pods = watch()
    assert pods.age_s is None
    assert set(pods.snapshot()) == {"a"}
    before = pods.generation
    fake_cluster.create(KEY, pod("b"))
    eventually(lambda: set(pods.snapshot()) == {"a", "b"})
    fake_cluster.expunge("pods", "a")
    eventually(lambda: set(pods.snapshot()) == {"b"})
    assert pods.generation == before + 2
    assert lists(fake_cluster) == 1


def test_a_listing_of_many_comes_in_pages(
    fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.kubernetes.client.PAGE", 2)
    for number in range(5):
        fake_cluster.create(KEY, pod(f"p{number}"))
    assert len(watch().snapshot()) == 5
    assert lists(fake_cluster) == 3


def test_a_renewed_watch_does_not_list_again(
    fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]
) -> None:
    pods = watch(watch_s=0.1)
    pods.snapshot()
    eventually(lambda: [method for method, _ in fake_cluster.requests].count("WATCH") >= 4)
    fake_cluster.create(KEY, pod("a"))
    eventually(lambda: set(pods.snapshot()) == {"a"})
    assert lists(fake_cluster) == 1


def test_bookmarks_keep_the_picture_young_and_the_past_short(
    fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]
) -> None:
    pods = watch(max_age_s=0.6)
    pods.snapshot()
    fake_cluster.create(KEY, pod("foreign", app="theirs"))  # moves the version, and is not ours
    limit = time.monotonic() + 1.5
    while time.monotonic() < limit:
        pods.snapshot()
        time.sleep(0.05)
    fake_cluster.cut_watches()
    fake_cluster.create(KEY, pod("a"))
    eventually(lambda: set(pods.snapshot()) == {"a"})


def test_e13_gone_lists_again(fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]) -> None:
    fake_cluster.create(KEY, pod("a"))
    fake_cluster.create(KEY, pod("b"))
    pods = watch()
    pods.snapshot()
    with fake_cluster.changed:  # nobody hears of this but by a new listing
        fake_cluster.expunge("pods", "a")
        fake_cluster.create(KEY, pod("c"))
        fake_cluster.compact()
    eventually(lambda: set(pods.snapshot()) == {"b", "c"})
    assert lists(fake_cluster) >= 2


@pytest.mark.parametrize(
    "fault",
    [
        lambda cluster: cluster.fail("WATCH", "pods", status=410),
        lambda cluster: cluster.fail("WATCH", "pods", status=429, retry_after="0"),
        lambda cluster: cluster.fail("WATCH", "pods", status=500, times=3),
        lambda cluster: cluster.fail("GET", "pods", status=500, times=2),
        lambda cluster: cluster.fail("GET", "pods", status=429, retry_after="0"),
        lambda cluster: cluster.fail("GET", "pods", status=429, retry_after="86400"),
        lambda cluster: cluster.fail("GET", "pods", status=401),
        lambda cluster: cluster.cut("GET", "pods", times=2),
        lambda cluster: cluster.cut("WATCH", "pods", times=2),
        lambda cluster: cluster.lose_answer("GET", "pods"),
    ],
    ids=[
        "410",
        "429",
        "500-watch",
        "500-list",
        "429-list",
        "429-for-a-day",
        "401",
        "cut-list",
        "cut-watch",
        "lost",
    ],
)
def test_converges_after_a_fault(
    fake_cluster: FakeCluster,
    watch: Callable[..., WatchedObjects],
    fault: Callable[[FakeCluster], None],
) -> None:
    fault(fake_cluster)
    pods = watch()
    fake_cluster.create(KEY, pod("a"))
    eventually(lambda: set(pods.snapshot()) == {"a"})
    fake_cluster.create(KEY, pod("b"))
    eventually(lambda: set(pods.snapshot()) == {"a", "b"})


def test_an_answer_that_makes_no_sense_ends_nothing(
    fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]
) -> None:
    strange = iter([True, True, False])

    def keep(found: Object) -> Object:
        if next(strange, False):
            raise KeyError("metadata")
        return found

    fake_cluster.create(KEY, pod("a"))
    pods = watch(keep=keep)
    assert set(pods.snapshot()) == {"a"}
    assert lists(fake_cluster) == 3


def test_a_server_that_fails_is_asked_ever_more_rarely(
    fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]
) -> None:
    fake_cluster.fail("GET", "pods", status=500, times=10_000)
    pods = watch(longest_wait_s=60.0)
    with pytest.raises(KubernetesUnavailable, match="pods cannot be listed: 500"):
        pods.snapshot(wait_s=2.0)
    assert 1 <= lists(fake_cluster) <= 5


def test_e13_a_server_that_says_gone_for_ever_is_not_flooded(
    fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]
) -> None:
    fake_cluster.fail("WATCH", "pods", status=410, times=10_000)
    pods = watch(longest_wait_s=60.0)
    pods.snapshot()
    time.sleep(1.5)
    assert lists(fake_cluster) <= 20


def test_an_old_picture_is_not_shown(fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]) -> None:
    pods = watch(max_age_s=0.6, silence_s=0.4)
    fake_cluster.create(KEY, pod("a"))
    eventually(lambda: set(pods.snapshot()) == {"a"})
    with fake_cluster.partition():
        assert set(pods.snapshot()) == {"a"}  # still young
        eventually(lambda: (pods.age_s or 0) > 0.6)
        with pytest.raises(KubernetesUnavailable, match="nothing was heard of pods for"):
            pods.snapshot()
        fake_cluster.create(KEY, pod("b"))

    def back() -> bool:
        try:
            return set(pods.snapshot()) == {"a", "b"}
        except KubernetesUnavailable:
            return False

    eventually(back)


def test_an_endless_event_is_cut_off(
    fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.kubernetes.stream.LINE_BYTES", 100_000)
    pods = watch()
    pods.snapshot()
    huge = pod("huge")
    huge["data"] = "x" * 400_000
    fake_cluster.create(KEY, huge)
    eventually(lambda: set(pods.snapshot()) == {"huge"})  # by a listing
    assert lists(fake_cluster) >= 2


def test_what_was_written_is_seen_at_once(
    fake_cluster: FakeCluster, client: KubernetesClient, watch: Callable[..., WatchedObjects]
) -> None:
    pods = watch()
    pods.snapshot()
    pods.note(client.create(PODS, "jobs", pod("a")))
    assert set(pods.snapshot()) == {"a"}


def test_a_note_of_the_past_raises_no_ghost(
    fake_cluster: FakeCluster, client: KubernetesClient, watch: Callable[..., WatchedObjects]
) -> None:
    pods = watch()
    pods.snapshot()
    made = client.create(PODS, "jobs", pod("a"))
    client.delete(PODS, "jobs", "a")
    client.create(PODS, "jobs", pod("b"))
    eventually(lambda: set(pods.snapshot()) == {"b"})
    pods.note(made)
    assert set(pods.snapshot()) == {"b"}


def test_a_note_outlives_a_listing_that_was_under_way(
    fake_cluster: FakeCluster, client: KubernetesClient, watch: Callable[..., WatchedObjects]
) -> None:
    pods = watch()
    pods.snapshot()
    for number in range(30):
        if number % 5 == 0:
            fake_cluster.compact()
        pods.note(client.create(PODS, "jobs", pod(f"p{number}")))
        assert f"p{number}" in pods.snapshot()


def test_the_last_state_of_what_is_gone_is_shown(
    fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]
) -> None:
    gone: list[tuple[str, str]] = []
    pods = watch(gone=lambda each: gone.append((each["metadata"]["name"], each["status"].get("phase", ""))))
    for name in "abc":
        fake_cluster.create(KEY, pod(name))
    eventually(lambda: len(pods.snapshot()) == 3)
    fake_cluster.update("pods", "a", lambda each: each["status"].update(phase="Failed"))
    fake_cluster.expunge("pods", "a")
    eventually(lambda: gone == [("a", "Failed")])
    with fake_cluster.changed:  # one that nobody hears of, and one that is replaced under its name
        fake_cluster.expunge("pods", "b")
        fake_cluster.expunge("pods", "c")
        fake_cluster.create(KEY, pod("c"))
        fake_cluster.compact()
    eventually(lambda: sorted(gone) == [("a", "Failed"), ("b", ""), ("c", "")])


def test_memory_stays_flat_while_objects_come_and_go(
    fake_cluster: FakeCluster, client: KubernetesClient, watch: Callable[..., WatchedObjects]
) -> None:
    pods = watch()
    pods.snapshot()
    for number in range(200):
        made = client.create(PODS, "jobs", pod(f"p{number}"))
        pods.note(made)
        client.delete(PODS, "jobs", f"p{number}")
    eventually(lambda: not pods.snapshot())
    assert len(pods._noted) <= 1


def test_closing_does_not_wait_for_the_next_event(
    fake_cluster: FakeCluster, watch: Callable[..., WatchedObjects]
) -> None:
    pods = watch(silence_s=60.0)
    pods.snapshot()
    eventually(lambda: ("WATCH", "/api/v1/namespaces/jobs/pods") in fake_cluster.requests)
    started = time.monotonic()
    pods.close()
    assert time.monotonic() - started < 2
    assert set(pods.snapshot()) == set()  # what was known stays


def test_field_ownership_is_not_kept() -> None:
    found = {"metadata": {"name": "a", "managedFields": [{"manager": "x"}]}, "spec": {}}
    assert without_managed_fields(found) == {"metadata": {"name": "a"}, "spec": {}}
