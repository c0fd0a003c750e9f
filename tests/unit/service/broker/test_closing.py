"""When pods may write no more: jobs that are cancelled, over, or gone on with another attempt. On both databases."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from broker_world import GRACE_S
from broker_world import JOB
from broker_world import MINE
from broker_world import RESULT
from broker_world import World

from deploy.contract import layout
from deploy.contract.document import sha256_hex
from deploy.store.broker_wire import SHA256_HEADER
from service.tables import JobRow

# ---- when no more ---------------------------------------------------------------------------------


def test_a_cancelled_job_commits_nothing(world: World, error_of: Callable[..., dict[str, Any]]) -> None:
    world.put(MINE + "a", b"1")
    world.cancel()
    for answer in (world.put(RESULT, b"mine", once=True), world.put(MINE + "b", b"1")):
        error = error_of(answer, 403)
        assert (error["code"], "cancelled" in error["message"]) == ("job_over", True)
    assert world.context.store.info(RESULT) is None
    assert world.get(MINE + "a").status_code == 200  # to end cleanly
    world.context.clock.time += GRACE_S  # type: ignore[attr-defined]
    assert error_of(world.get(MINE + "a"), 403)["code"] == "job_over"


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_job_that_is_over_writes_nothing(world: World, status: str) -> None:
    world.change(status=status, finished_at=int(world.context.clock.now()))
    assert world.put(RESULT, b"late", once=True).status_code == 403
    assert world.get("files/file-1").status_code == 200


def test_an_upload_that_began_before_the_cancel_is_not_completed_after_it(world: World) -> None:
    query = {"store": world.context.store.uri, "key": MINE + "large"}
    json = {"content-type": "application/json"}
    begun = world.ask(
        "POST", "/v1/uploads", params=query, content='{"part_size_bytes": 8388608}', headers=json
    )
    query["upload"] = begun.json()["upload_id"]
    part = {SHA256_HEADER: sha256_hex(b"part")}
    sent = world.ask("PUT", "/v1/uploads/parts", params={**query, "number": 1}, content=b"part", headers=part)
    assert sent.json() == {"etag": sha256_hex(b"part")}
    world.cancel()
    whole = f'{{"etags": ["{sha256_hex(b"part")}"], "size_bytes": 4, "sha256": "{sha256_hex(b"part")}"}}'
    answer = world.ask("POST", "/v1/uploads/complete", params=query, content=whole, headers=json)
    assert answer.status_code == 403
    assert world.context.store.info(MINE + "large") is None
    assert world.ask("DELETE", "/v1/uploads", params=query).status_code == 204  # it may still tidy up
    assert list(world.context.store.list(layout.BROKER_UPLOADS)) == []


def test_a_cancel_waits_for_a_commit_that_has_begun_and_not_the_other_way_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    putting, go_on = threading.Event(), threading.Event()
    put_once = type(world.context.store).put_once

    def slowly(store: Any, key: str, data: bytes) -> bool:
        putting.set()
        assert go_on.wait(20)
        return put_once(store, key, data)

    monkeypatch.setattr(type(world.context.store), "put_once", slowly)
    answers: list[Any] = []
    commit = threading.Thread(target=lambda: answers.append(world.put(RESULT, b"mine", once=True)))
    commit.start()
    assert putting.wait(20)
    cancel = threading.Thread(target=world.cancel)
    cancel.start()
    cancel.join(0.3)
    assert cancel.is_alive()
    go_on.set()
    commit.join(20)
    cancel.join(20)
    assert answers[0].status_code == 201
    with world.context.database.reading() as session:
        row = session.get(JobRow, JOB)
        assert row is not None
        assert row.status == "cancelled"


def test_an_attempt_that_another_has_followed_writes_nothing(
    world: World, error_of: Callable[..., dict[str, Any]]
) -> None:
    world.change(attempt=2)
    assert error_of(world.put(MINE + "a", b"1"), 403)["code"] == "attempt_superseded"
    assert error_of(world.put(RESULT, b"1", once=True), 403)["code"] == "attempt_superseded"
    assert world.get("files/file-1").status_code == 200
    assert world.put(layout.pod_prefix(JOB, 2, "uid-2") + "a", b"1", "job.pod.2").status_code == 201


def test_a_pod_without_a_row_or_a_spec_does_nothing(
    world: World, error_of: Callable[..., dict[str, Any]]
) -> None:
    assert error_of(world.get("files/file-1", "no.row.1"), 403)["code"] == "job_unknown"
    world.context.store.delete(layout.spec_key("ftjob-other", 1))
    assert error_of(world.get("files/file-1", "other.job.1"), 403)["code"] == "spec_missing"
