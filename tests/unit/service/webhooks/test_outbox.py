"""Every end of a job, a scan and an endpoint is announced in the transaction that makes it."""

from typing import Any

import pytest
from job_world import World
from sqlalchemy import select

from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server
from service.jobs.repository import JOBS
from service.webhooks import outbox
from service.webhooks.events import EVENT_TYPES
from service.webhooks.rows import DeliveryRow

FAILS = 42


@pytest.fixture
def told(world: World, hooks: Any) -> Any:
    """What has been left for a webhook that wants everything: pairs of a type and an event's data."""
    made = hooks.create(*EVENT_TYPES)

    def look() -> list[tuple[str, dict[str, Any]]]:
        with world.context.database.reading() as session:
            query = select(DeliveryRow).where(DeliveryRow.webhook_id == made["id"])
            rows = session.scalars(query.order_by(DeliveryRow.event_type)).all()
        return [(row.event_type, row.data) for row in rows]

    return look


def test_a_job_that_succeeds_tells_its_verdict(world: World, told: Any) -> None:
    job = world.finish(world.create()["id"])
    assert job["status"] == "succeeded"
    verdict = {
        "id": job["id"],
        "job": job["id"],
        "status": "succeeded",
        "model": job["fine_tuned_model"],
        "verdict": job["hardening"]["verdict"],
        "report_url": f"/v1/reports/{job['id']}",
    }
    assert told() == [("fine_tuning.job.succeeded", {"id": job["id"]}), ("hardening.verdict", verdict)]


def test_a_job_that_fails_tells_that_there_is_no_verdict(world: World, told: Any) -> None:
    job = world.finish(world.create(seed=FAILS)["id"])
    assert job["status"] == "failed"
    [failed, (kind, verdict)] = told()
    assert failed == ("fine_tuning.job.failed", {"id": job["id"]})
    assert kind == "hardening.verdict"
    assert (verdict["verdict"], verdict["status"], verdict["report_url"]) == (None, "failed", None)


def test_a_job_that_is_cancelled_tells_so_once(world: World, told: Any) -> None:
    job = world.create()["id"]
    for _ in range(2):
        world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel").raise_for_status()
    assert [kind for kind, _ in told()] == ["fine_tuning.job.cancelled", "hardening.verdict"]


def test_scans_tell_their_ends(world: World, told: Any) -> None:
    done, cancelled = world.create_scan()["id"], world.create_scan()["id"]
    world.api.post(f"/v1/scans/{cancelled}/cancel").raise_for_status()
    assert world.finish_scan(done)["status"] == "succeeded"
    assert told() == [
        ("scan.cancelled", {"id": cancelled}),
        ("scan.succeeded", {"id": done, "rows": 20, "suspicious": 0}),
    ]


def test_endpoints_tell_every_time_that_they_are_ready_and_that_they_failed(world: World, told: Any) -> None:
    endpoint = world.api.post("/v1/endpoints", json={"model": "tiny"}).json()["id"]

    def become(phase: ServePhase) -> None:
        url = "http://127.0.0.1:1" if phase is ServePhase.READY else None
        world.backend.servers[endpoint] = Server(name=endpoint, phase=phase, base_url=url, reason=None)
        for _ in range(6):
            world.reconciler.tick()
            world.reconciler.settle()

    become(ServePhase.STARTING)
    assert told() == []
    become(ServePhase.READY)
    assert told() == [("endpoint.ready", {"id": endpoint, "model": "tiny"})]
    become(ServePhase.FAILED)
    assert [kind for kind, _ in told()].count("endpoint.failed") == 1


def test_an_end_without_its_events_is_no_end(
    world: World, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.create()["id"]

    def full(*_: object, **__: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "delivery_of", full)
        assert world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel").status_code == 500
    assert world.job(job)["status"] != "cancelled"
    assert told() == []


def test_whoever_loses_the_race_for_an_end_tells_nothing(world: World, told: Any) -> None:
    job = world.create()["id"]
    with world.context.database.reading() as session:
        stale = JOBS.get(session, "default", job)
    assert stale is not None
    world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel").raise_for_status()
    with world.context.database.writing() as session:
        assert not JOBS.change(session, stale, status="failed", finished_at=1)
    assert "fine_tuning.job.failed" not in [kind for kind, _ in told()]
