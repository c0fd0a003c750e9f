"""The same request many times at once, and a database that was restored to an hour ago."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func
from sqlalchemy import select

from service.answers.rows import RequestAnswerRow
from service.tables import JobEventRow
from service.tables import JobRow
from service.tables import ModelRow

AT_ONCE = 50


def count(world: Any, table: type[Any]) -> int:
    with world.context.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def all_at_once(call: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(call, range(AT_ONCE)))


def test_d1_one_key_and_one_body_make_one_job(world: Any) -> None:
    body = {"model": "tiny", "training_file": world.upload(), "seed": 0}
    headers = {"idempotency-key": "once"}
    answers = all_at_once(lambda _: world.api.post("/v1/fine_tuning/jobs", json=body, headers=headers))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert (count(world, JobRow), count(world, RequestAnswerRow), count(world, JobEventRow)) == (1, 1, 1)


def test_d2_one_key_and_other_bodies_make_one_job_and_refusals(world: Any) -> None:
    file = world.upload()

    def create(number: int) -> Any:
        body = {"model": "tiny", "training_file": file, "seed": number % 2}
        return world.api.post("/v1/fine_tuning/jobs", json=body, headers={"idempotency-key": "once"})

    answers = all_at_once(create)
    assert {answer.status_code for answer in answers} == {200, 422}
    seeds = {answer.json()["seed"] for answer in answers if answer.status_code == 200}
    assert len(seeds) == 1
    assert count(world, JobRow) == 1


def test_keys_of_their_own_make_jobs_of_their_own(world: Any) -> None:
    body = {"model": "tiny", "training_file": world.upload(), "seed": 0}

    def create(number: int) -> Any:
        headers = {"idempotency-key": f"key-{number % 10}"}
        return world.api.post("/v1/fine_tuning/jobs", json=body, headers=headers)

    answers = all_at_once(create)
    assert {answer.status_code for answer in answers} == {200}
    assert count(world, JobRow) == count(world, RequestAnswerRow) == 10


@pytest.mark.parametrize("verbs", [("pause", "resume"), ("cancel", "pause")])
def test_d9_two_who_decide_at_once_leave_one_state(world: Any, verbs: tuple[str, str]) -> None:
    job = world.create()["id"]
    answers = all_at_once(lambda number: world.api.post(f"/v1/fine_tuning/jobs/{job}/{verbs[number % 2]}"))
    assert {answer.status_code for answer in answers} <= {200, 409}
    with world.context.database.reading() as session:
        row = session.get(JobRow, job)
    assert row is not None
    # Each change is told once, and each was made on the row that the change before it left.
    assert count(world, JobEventRow) == row.version + 1
    if "cancel" in verbs:
        assert row.status == "cancelled"


def test_a_database_of_an_hour_ago_learns_of_what_came_after_it(
    world: Any, request: pytest.FixtureRequest
) -> None:
    if not world.context.database.shared:
        pytest.skip("the backup is made by PostgreSQL's means")
    server = request.getfixturevalue("postgres")
    name = world.context.database.url.database
    running = world.create()["id"]
    waits = world.create(seed=100)["id"]
    world.settle(until="preparing", job_id=running)
    world.context.database.close()
    server.execute(f"CREATE DATABASE backup_{name} TEMPLATE {name}")
    done = world.finish(running)
    assert done["status"] == "succeeded", done["error"]
    assert world.finish(waits)["status"] == "succeeded"
    launched = dict(world.launcher.orders)
    world.context.database.close()
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    server.execute(f"CREATE DATABASE {name} TEMPLATE backup_{name}")
    server.execute(f"DROP DATABASE backup_{name}")
    world.restart()
    assert world.job(running)["status"] != "succeeded"
    assert world.finish(running)["status"] == "succeeded"
    assert world.finish(waits)["status"] == "succeeded"
    # What was done in the hour that is lost is not done again.
    assert world.launcher.orders.keys() == launched.keys()
    assert count(world, ModelRow) == 4
