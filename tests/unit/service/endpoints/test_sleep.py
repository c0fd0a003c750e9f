"""Falling asleep, waking and being used, at the same time and from several processes."""

import threading
from typing import Any

import anyio
import pytest
import sqlalchemy
from starlette.testclient import TestClient

from service.context import Context
from service.endpoints import fleet
from service.endpoints import repository
from service.errors import Gone
from service.errors import Unavailable
from service.inference.routing import find_server
from service.inference.usage import NOTE_S
from service.inference.usage import Usage
from service.tables import BaseModelRow
from service.tables import EndpointRow

URL = "http://server:8000"


@pytest.fixture
def row(context: Context) -> EndpointRow:
    """A ready endpoint that nobody has used for long."""
    with context.database.writing() as session:
        session.add(
            BaseModelRow(
                id="tiny",
                status="ready",
                source={"type": "upload"},
                uri="file:///m",
                files=[],
                architecture="decoder",
                created_at=1,
                version=0,
            )
        )
        session.add(
            EndpointRow(
                id="ep-1",
                model_id="tiny",
                active_model_id="tiny",
                status="ready",
                url=URL,
                min_replicas=1,
                max_replicas=1,
                idle_s=60,
                last_used_at=1000,
                remove_requested=False,
                created_at=1,
                version=0,
            )
        )
    return read(context)


def read(context: Context) -> EndpointRow:
    with context.database.reading() as session:
        row = repository.get(session, "default", "ep-1")
    assert row is not None
    return row


def fall_asleep(context: Context, row: EndpointRow) -> bool:
    with context.database.writing() as session:
        return fleet.fall_asleep(session, row)


def find(context: Context, usage: Usage, wait_s: float = 0) -> str:
    async def look() -> str:
        return (await find_server(context.database, usage, "default", "tiny", wait_s=wait_s)).url

    return anyio.run(look)


def test_unused_time_is_the_databases(context: Context, row: EndpointRow) -> None:
    with context.database.reading() as session:
        assert fleet.unused_s(session)["ep-1"] > 1_000_000
    find(context, Usage(context.database))
    with context.database.reading() as session:
        assert fleet.unused_s(session)["ep-1"] < 30


def test_a_request_that_came_first_keeps_it_awake(context: Context, row: EndpointRow) -> None:
    assert find(context, Usage(context.database)) == URL
    assert fall_asleep(context, row) is False, "it was decided on what is no longer so"
    assert read(context).status == "ready"


def test_one_that_fell_asleep_first_is_woken_and_not_asked(context: Context, row: EndpointRow) -> None:
    usage = Usage(context.database)
    assert fall_asleep(context, row) is True
    with pytest.raises(Unavailable) as raised:
        find(context, usage)
    assert (raised.value.code, raised.value.headers["retry-after"]) == ("model_asleep", "30")
    assert read(context).status == "queued"
    with pytest.raises(Unavailable) as raised:
        find(context, usage)
    assert raised.value.code == "model_starting"


def test_falling_asleep_and_a_request_race(context: Context, row: EndpointRow) -> None:
    """Whoever gets a server gets one that stays: never a route to an endpoint that sleeps."""
    for _ in range(10):
        with context.database.writing() as session:
            session.execute(sqlalchemy.update(EndpointRow).values(status="ready", url=URL, last_used_at=1000))
        seen, outcome = read(context), []
        barrier = threading.Barrier(2)

        def request(barrier: threading.Barrier = barrier, outcome: list[Any] = outcome) -> None:
            barrier.wait()
            try:
                outcome.append(find(context, Usage(context.database)))
            except Unavailable as error:
                outcome.append(error.code)

        thread = threading.Thread(target=request)
        thread.start()
        barrier.wait()
        slept = fall_asleep(context, seen)
        thread.join()
        assert (slept, outcome) in [(True, ["model_asleep"]), (False, [URL])]


def test_it_is_woken_once(context: Context, row: EndpointRow) -> None:
    fall_asleep(context, row)
    asleep = read(context)
    with context.database.writing() as session:
        assert repository.wake(session, asleep) is True
    with context.database.writing() as session:
        assert repository.wake(session, asleep) is False


def test_one_that_is_being_removed_is_not_woken(context: Context, row: EndpointRow) -> None:
    fall_asleep(context, row)
    with context.database.writing() as session:
        session.execute(sqlalchemy.update(EndpointRow).values(remove_requested=True))
    with pytest.raises(Gone) as raised:
        find(context, Usage(context.database))
    assert raised.value.code == "model_not_deployed"


def test_uses_are_written_rarely(context: Context, row: EndpointRow) -> None:
    writes: list[str] = []

    @sqlalchemy.event.listens_for(context.database.engine, "before_cursor_execute")
    def see(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("UPDATE endpoints"):
            writes.append(statement)

    now = [100.0]
    usage = Usage(context.database, monotonic=lambda: now[0])
    for _ in range(50):
        assert find(context, usage) == URL
        with usage.going_on("ep-1"):
            pass
    assert len(writes) == 1
    now[0] += NOTE_S
    find(context, usage)
    assert len(writes) == 2


def test_another_process_has_noted_it_already(context: Context, row: EndpointRow) -> None:
    find(context, Usage(context.database))
    version = read(context).last_used_at
    with context.database.writing() as session:
        assert fleet.touch(session, ["ep-1"], unless_within_s=NOTE_S) == 0
    assert read(context).last_used_at == version


def test_what_goes_on_is_noted_until_it_ends(context: Context, row: EndpointRow) -> None:
    usage = Usage(context.database)

    def age() -> None:
        with context.database.writing() as session:
            session.execute(sqlalchemy.update(EndpointRow).values(last_used_at=1000))

    usage.begin("ep-1")
    for _ in range(2):
        age()
        anyio.run(usage.note)
        assert (read(context).last_used_at or 0) > 1000
    age()
    usage.end("ep-1")
    anyio.run(usage.note)
    assert (read(context).last_used_at or 0) > 1000, "its end is a use as well"
    age()
    anyio.run(usage.note)
    assert read(context).last_used_at == 1000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"idle_s": 5}, "idle_s"),
        ({"idle_s": -1}, "idle_s"),
        ({"min_replicas": 0}, "min_replicas"),
        ({"min_replicas": 3, "max_replicas": 2}, "min_replicas"),
        ({"max_replicas": 2}, "max_replicas"),
        ({"resources": {"gpus": 1}}, "resources"),
        ({"resources": {"gpus": 1, "nodes": 2}}, "resources.nodes"),
        ({"resources": {"gpus": "1"}}, "resources.gpus"),
        ({"resources": {"tpus": 1}}, "resources.tpus"),
    ],
)
def test_bad_bodies_name_the_key(api: TestClient, row: EndpointRow, body: dict[str, Any], param: str) -> None:
    answer = api.post("/v1/endpoints", json={"model": "tiny", **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(param)


def test_an_update_of_what_has_ended_is_a_conflict(
    api: TestClient, context: Context, row: EndpointRow
) -> None:
    assert api.post("/v1/endpoints/ep-1", json={"idle_s": 90}).json()["idle_s"] == 90
    assert api.post("/v1/endpoints/ep-1", json={"model": "x"}).json()["error"]["param"] == "model"
    assert api.post("/v1/endpoints/ep-2", json={}).json()["error"]["code"] == "endpoint_not_found"
    with context.database.writing() as session:
        session.execute(sqlalchemy.update(EndpointRow).values(status="failed", reason="it broke"))
    answer = api.post("/v1/endpoints/ep-1", json={"idle_s": 90})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "endpoint_ended")
