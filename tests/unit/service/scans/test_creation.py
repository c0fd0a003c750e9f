"""What a request for a scan may say, and how often it may be said."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


def post(world: Any, body: Any, **headers: str) -> Any:
    return world.api.post("/v1/scans", json=body, headers=headers)


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"files": []}, "files"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"columns": {"prompt": ""}}, "columns.prompt"),
        ({"columns": {"src": "a"}}, "columns.src"),
        ({"limits": {"max_rows": 0}}, "limits.max_rows"),
        ({"limits": {"max_rows": 5001}}, "limits.max_rows"),
        ({"limits": {"min_score": 1.5}}, "limits.min_score"),
        ({"payloads": ["sql"]}, "payloads.0"),
        ({"probes": [{"name": "a", "trigger": {"type": "word"}}]}, "probes.0.trigger.word"),
        ({"probes": [{"name": "A", "trigger": {"type": "none"}}]}, "probes.0.name"),
    ],
)
def test_a_mistake_is_named_by_its_path(world: Any, extra: dict[str, Any], param: str) -> None:
    answer = post(world, {"file": "file-x", **extra})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("name", ["probes", "payloads"])
def test_names_are_unique(world: Any, name: str) -> None:
    probe = {"name": "same", "trigger": {"type": "none"}}
    twice = {"probes": [probe, probe], "payloads": ["sql_tautology", "sql_tautology"]}
    answer = post(world, {"file": "file-x", name: twice[name]})
    assert answer.status_code == 400
    assert "the same name" in answer.json()["error"]["message"]


def test_a_payload_pattern_that_backtracks_is_refused(world: Any) -> None:
    payload = {"type": "pattern", "name": "mine", "pattern": r"(a+)\1"}
    answer = post(world, {"file": "file-x", "payloads": [payload]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("payloads.0")


def test_the_file_must_exist_and_hold_rows(world: Any) -> None:
    missing = post(world, {"file": "file-0"})
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "file")
    assert post(world, {"file": world.upload(purpose="evals")}).status_code == 200
    scan = world.finish_scan(world.create_scan()["id"])
    wrong = post(world, {"file": scan["result_files"][0]})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_file_purpose")


def test_the_same_key_and_body_make_one_scan(world: Any) -> None:
    body = {"file": world.upload(), "seed": 4}
    first = post(world, body, **{"Idempotency-Key": "k1"}).json()
    assert post(world, body, **{"Idempotency-Key": "k1"}).json()["id"] == first["id"]
    other = post(world, {**body, "seed": 5}, **{"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert post(world, body, **{"Idempotency-Key": "k2"}).json()["id"] != first["id"]
    events = [each for each in world.scan_events(first["id"]) if "Created" in each["message"]]
    assert len(events) == 1


def test_a_key_of_a_job_is_no_key_of_a_scan(world: Any) -> None:
    file_id = world.upload()
    job = world.api.post(
        "/v1/fine_tuning/jobs",
        json={"model": "tiny", "training_file": file_id},
        headers={"Idempotency-Key": "k"},
    )
    assert job.status_code == 200
    assert post(world, {"file": file_id}, **{"Idempotency-Key": "k"}).json()["id"].startswith("scan-")


def test_a_clients_retry_finds_the_scan_that_its_first_try_made(world: Any) -> None:
    body = {"file": world.upload()}
    first = post(world, body).json()["id"]
    assert post(world, body, **{"X-Stainless-Retry-Count": "1"}).json()["id"] == first
    assert post(world, body).json()["id"] != first


def test_scans_are_listed_the_newest_first_and_by_metadata(world: Any) -> None:
    file_id = world.upload()
    made = [world.create_scan(file=file_id, metadata={"n": str(n % 2)})["id"] for n in range(5)]
    page = world.api.get("/v1/scans?limit=2").json()
    assert [each["id"] for each in page["data"]] == made[:2:-1]
    assert page["has_more"]
    rest = world.api.get(f"/v1/scans?limit=9&after={page['last_id']}").json()
    assert [each["id"] for each in rest["data"]] == made[2::-1]
    odd = world.api.get("/v1/scans", params={"metadata[n]": "1"}).json()
    assert [each["id"] for each in odd["data"]] == [made[3], made[1]]
    assert world.api.get("/v1/scans?after=scan-0").json()["error"]["param"] == "after"


@pytest.mark.parametrize("path", ["", "/events", "/rows", "/cancel"])
def test_a_scan_that_is_not_there_is_not_found(world: Any, path: str) -> None:
    method = world.api.post if path == "/cancel" else world.api.get
    answer = method(f"/v1/scans/scan-0{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "scan_not_found")


def test_of_many_equal_requests_at_once_one_makes_the_scan(world: Any) -> None:
    body = {"file": world.upload()}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(world, body, **{"Idempotency-Key": "k"}), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(world.api.get("/v1/scans").json()["data"]) == 1
