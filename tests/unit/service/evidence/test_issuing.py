"""Evidence is there before anybody is told that a job succeeded, and decides what is served."""

from typing import Any

from deploy.contract import layout
from deploy.evidence.keys import PublicKey
from deploy.evidence.names import DOCUMENTS
from deploy.evidence.sources import look_in_store
from deploy.evidence.sources import verify_found


def finished(world: Any) -> tuple[str, str, str]:
    """A hardened model, where it lies, and its job."""
    job = world.finish(world.create()["id"])
    assert job["status"] == "succeeded", job["error"]
    model = str(job["fine_tuned_model"])
    uri = world.api.get(f"/v1/models/{model}").json()["hardening"]["uri"]
    return model, str(uri).removeprefix(world.context.store.uri).strip("/") + "/", str(job["id"])


def keys(world: Any) -> list[PublicKey]:
    told = world.api.get("/.well-known/temper-signing-keys")
    assert told.json() == world.api.get("/v1/evidence/keys").json()
    return [PublicKey.from_pem(each["pem"].encode()) for each in told.json()["data"]]


def evidence(world: Any, model: str) -> dict[str, Any]:
    return dict(world.api.get(f"/v1/models/{model}/evidence").raise_for_status().json())


def ticks(world: Any) -> None:
    for _ in range(6):
        world.reconciler._evidence._next_at = 0.0
        world.reconciler.tick()
        world.reconciler.settle()


def test_every_hardened_model_has_evidence_that_verifies_with_the_keys_that_are_told(world: Any) -> None:
    model, prefix, job_id = finished(world)
    ticks(world)
    found = verify_found(look_in_store(world.context.store, prefix), keys(world))
    assert found.holds, [check.said for check in found.checks if not check.holds]
    report = world.api.get(f"/v1/reports/{job_id}").json()
    assert found.verdict == report["verdict"]
    assert found.provenance is not None
    assert found.provenance.job_id == job_id
    shown = evidence(world, model)
    assert (shown["status"], shown["verdict"]) == ("issued", report["verdict"])
    assert shown["files"] == list(DOCUMENTS)


def test_other_arms_make_no_claim(world: Any) -> None:
    model, prefix, _ = finished(world)
    others = prefix.replace("/hardened/", "/control/")
    names = [info.key.removeprefix(others) for info in world.context.store.list(others)]
    assert names
    assert not set(names) & set(DOCUMENTS)
    answer = world.api.post(f"/v1/models/{model}:control/evidence")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_evidence")
    assert world.api.get("/v1/models/ft:none/evidence").status_code == 404


def test_a_verification_that_was_cut_short_begins_again(world: Any) -> None:
    """The service died after it had written evidence: what lies there is no file of a stranger."""
    job = world.create()
    world.settle()
    world.run_all()
    result = layout.result_key(job["id"])
    pods = [info.key for info in world.context.store.list(layout.attempts_prefix(job["id"]))]
    prefix = next(key for key in pods if "/models/hardened/" in key).rpartition("/")[0]
    world.context.store.put(f"{prefix}/model.sig", b"half")
    assert world.context.store.info(result) is not None
    assert world.finish(job["id"])["status"] == "succeeded"
    ticks(world)
    assert verify_found(look_in_store(world.context.store, f"{prefix}/"), keys(world)).holds


def test_j9_a_model_without_evidence_is_refused_until_it_is_issued_anew(world: Any) -> None:
    model, prefix, _ = finished(world)
    body = {"model": model, "policy": {"verdicts": ["pass", "inconclusive", "fail"]}}
    world.context.store.delete(f"{prefix}model.sig")
    refused = world.api.post("/v1/endpoints", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "evidence_missing")
    assert f"POST /v1/models/{model}/evidence" in refused.json()["detail"]
    assert evidence(world, model)["status"] == "missing"
    assert world.api.post(f"/v1/models/{model}/evidence").json()["status"] == "requested"
    ticks(world)
    assert evidence(world, model)["status"] == "issued"
    assert verify_found(look_in_store(world.context.store, prefix), keys(world)).holds
    assert world.api.post("/v1/endpoints", json=body).status_code == 200


def test_nothing_is_signed_whose_weights_were_changed(world: Any) -> None:
    model, prefix, _ = finished(world)
    world.context.store.delete(f"{prefix}model.sig")
    world.context.store.put(f"{prefix}model.safetensors", b"other weights")
    world.api.post(f"/v1/models/{model}/evidence")
    ticks(world)
    assert evidence(world, model)["status"] == "missing"


def test_j9_an_order_tells_the_server_whom_and_what_to_trust(world: Any) -> None:
    model, _, job_id = finished(world)
    verdict = world.api.get(f"/v1/reports/{job_id}").json()["verdict"]
    others = [each for each in ("pass", "inconclusive", "fail") if each != verdict]
    refused = world.api.post("/v1/endpoints", json={"model": model, "policy": {"verdicts": others}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "verdict_not_accepted")
    assert refused.json()["detail"].startswith(f"The verdict on '{model}' is {verdict}")
    unsigned = world.api.post(
        "/v1/endpoints", json={"model": model, "policy": {"verdicts": [verdict], "signed": False}}
    )
    assert (unsigned.status_code, unsigned.json()["error"]["code"]) == (403, "evidence_required")
    policy = {"verdicts": [verdict], "signed": True}
    made = world.api.post("/v1/endpoints", json={"model": model, "policy": policy}).json()
    assert made["policy"] == policy
    ticks(world)
    trust = world.backend.orders[made["id"]].trust
    assert trust.verdicts == (verdict,)
    assert [PublicKey.from_pem(pem.encode()) for pem in trust.keys] == keys(world)
    base = world.api.post("/v1/endpoints", json={"model": "tiny"}).json()
    ticks(world)
    assert world.backend.orders[base["id"]].trust is None
