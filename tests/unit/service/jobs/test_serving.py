"""Endpoints from their creation to their end."""

from dataclasses import replace
from typing import Any

from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server


def deploy(world: Any, model: str = "tiny") -> dict[str, Any]:
    return dict(world.api.post("/v1/endpoints", json={"model": model}).raise_for_status().json())


def status(world: Any, endpoint: str) -> str:
    return str(world.api.get(f"/v1/endpoints/{endpoint}").json()["status"])


def become(world: Any, endpoint: str, phase: ServePhase, reason: str | None = None) -> None:
    url = "http://127.0.0.1:1" if phase is ServePhase.READY else None
    world.backend.servers[endpoint] = Server(name=endpoint, phase=phase, base_url=url, reason=reason)


def rest(world: Any) -> None:
    for _ in range(6):
        world.reconciler.tick()
        world.reconciler.settle()


def test_a_model_is_deployed_once_becomes_ready_and_is_removed(world: Any) -> None:
    first = deploy(world)
    assert first["status"] == "queued"
    assert deploy(world)["id"] == first["id"]
    rest(world)
    assert status(world, first["id"]) == "starting"
    order = world.backend.orders[first["id"]]
    assert order.model_id == "tiny"
    assert [file.name for file in order.files] == ["model.safetensors"]
    answer = world.api.post("/v1/completions", json={"model": "tiny", "prompt": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_starting")
    assert answer.headers["retry-after"] == "30"
    become(world, first["id"], ServePhase.READY)
    rest(world)
    assert status(world, first["id"]) == "ready"
    world.api.delete(f"/v1/endpoints/{first['id']}")
    assert status(world, first["id"]) == "stopping"
    rest(world)
    assert status(world, first["id"]) == "stopped"
    assert not world.backend.servers
    assert deploy(world)["id"] != first["id"]


def test_a_server_that_fails_tells_why_and_gives_its_place_back(world: Any) -> None:
    endpoint = deploy(world)["id"]
    rest(world)
    become(world, endpoint, ServePhase.FAILED, "ended with 1; the last lines of its log:\nno kernel")
    rest(world)
    shown = world.api.get(f"/v1/endpoints/{endpoint}").json()
    assert shown["status"] == "failed"
    assert "no kernel" in shown["error"]["message"]
    assert not world.backend.servers
    assert deploy(world)["id"] != endpoint


def test_a_backend_that_refuses_fails_the_endpoint(world: Any) -> None:
    world.backend.refuses = "no room on this machine"
    endpoint = deploy(world)["id"]
    rest(world)
    assert "no room" in world.api.get(f"/v1/endpoints/{endpoint}").json()["error"]["message"]


def test_a_change_that_is_refused_takes_nothing_from_who_is_served(world: Any) -> None:
    endpoint = deploy(world)["id"]
    rest(world)
    become(world, endpoint, ServePhase.READY)
    rest(world)
    world.backend.servers[endpoint] = replace(world.backend.servers[endpoint], current=False)
    world.backend.refuses = "the quota is used up"
    rest(world)
    assert status(world, endpoint) == "ready"
    assert endpoint in world.backend.servers


def test_what_a_server_waits_for_is_shown(world: Any) -> None:
    endpoint = deploy(world)["id"]
    rest(world)
    become(world, endpoint, ServePhase.STARTING, "Unschedulable: 0/3 nodes are available")
    rest(world)
    shown = world.api.get(f"/v1/endpoints/{endpoint}").json()
    assert (shown["status"], shown["replicas"], shown["error"]) == ("starting", 0, None)
    assert shown["status_details"] == "Unschedulable: 0/3 nodes are available"
    become(world, endpoint, ServePhase.READY)
    rest(world)
    shown = world.api.get(f"/v1/endpoints/{endpoint}").json()
    assert (shown["replicas"], shown["status_details"]) == (1, None)
    assert shown["last_used_at"] is not None


def test_a_server_that_went_away_is_started_again(world: Any) -> None:
    endpoint = deploy(world)["id"]
    rest(world)
    become(world, endpoint, ServePhase.READY)
    rest(world)
    world.backend.servers.clear()
    world.restart()
    rest(world)
    assert status(world, endpoint) == "starting"
    assert endpoint in world.backend.servers


def test_e19_a_server_without_a_row_is_removed(world: Any) -> None:
    become(world, "ep-nobody", ServePhase.READY)
    rest(world)
    assert not world.backend.servers


def test_a_job_is_served_by_all_its_arms_and_no_more_than_allowed(world: Any) -> None:
    job = world.create()["id"]
    models = world.finish(job)["hardening"]["models"]
    ids = [deploy(world, model)["id"] for model in models.values()]
    rest(world)
    assert [status(world, each) for each in ids] == ["starting"] * 3
    other = world.finish(world.create()["id"])["hardening"]["models"]["hardened"]
    fourth = deploy(world, other)["id"]
    rest(world)
    assert status(world, fourth) == "queued"
    world.api.delete(f"/v1/endpoints/{ids[0]}")
    rest(world)
    assert status(world, fourth) == "starting"


def test_what_cannot_be_served_is_refused(world: Any) -> None:
    unknown = world.api.post("/v1/endpoints", json={"model": "nope"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert world.api.post("/v1/endpoints", json={"model": "tiny", "gpu": 1}).json()["error"]["param"] == "gpu"
    assert world.api.get("/v1/endpoints/ep-x").json()["error"]["code"] == "endpoint_not_found"
    from service.tables import BaseModelRow

    with world.context.database.writing() as session:
        row = session.get(BaseModelRow, ("default", "tiny"))
        assert row is not None
        row.architecture = "encoder-decoder"
    refused = world.api.post("/v1/endpoints", json={"model": "tiny"})
    assert refused.json()["error"]["code"] == "unsupported_architecture"


def test_a_hub_model_can_be_served_once_a_job_has_fetched_it(world: Any) -> None:
    from service.tables import BaseModelRow

    source = {"type": "hub", "repo": "a/b", "revision": "0" * 40}
    with world.context.database.writing() as session:
        session.add(BaseModelRow(id="hub", status="ready", source=source, files=[], created_at=1, version=0))
    early = world.api.post("/v1/endpoints", json={"model": "hub"})
    assert early.json()["error"]["code"] == "model_not_found"
    done = world.finish(world.create(model="hub")["id"])
    assert done["status"] == "succeeded", done["error"]
    endpoint = deploy(world, "hub")["id"]
    rest(world)
    assert world.backend.orders[endpoint].weights_uri.endswith("/models/base/")
    assert sum(model["id"] == "hub" for model in world.api.get("/v1/models").json()["data"]) == 1
