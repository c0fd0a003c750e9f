"""The broker over HTTP with the service's own rows: who gets what, and when no more."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from broker_server import FakeReviewer
from broker_world import JOB
from broker_world import MINE
from broker_world import RESULT
from broker_world import UID
from broker_world import World
from fastapi.routing import APIRoute

from deploy.contract import layout
from deploy.contract.document import sha256_hex
from deploy.store.broker_wire import CODE_HEADER
from deploy.store.broker_wire import SHA256_HEADER
from deploy.store.broker_wire import SIZE_HEADER
from deploy.store.opening import open_store
from service.auth import OPEN_ROUTES
from service.broker.app import create_broker_app
from service.context import Context
from service.environment import SettingsError
from service.tables import EndpointRow
from service.tables import ModelRow

# ---- who ------------------------------------------------------------------------------------------


def test_every_route_but_healths_asks_who_calls(world: World) -> None:
    routes = [route for route in world.http.app.routes if isinstance(route, APIRoute)]  # type: ignore[attr-defined]
    asked = 0
    for route in routes:
        if route.path in OPEN_ROUTES:
            continue
        for method in route.methods:
            for headers in ({}, {"authorization": "Basic eDp5"}, {"authorization": "Bearer "}):
                answer = world.ask(
                    method, route.path, None, params={"store": "x", "key": "y"}, headers=headers
                )
                assert answer.status_code == 401, (method, route.path)
                asked += 1
    assert asked == 3 * 11
    assert world.reviewer.asked == 0


@pytest.mark.parametrize("token", ["un.known.token", "no-token-at-all", "stranger.pod.1"])
def test_strangers_get_nothing(world: World, token: str) -> None:
    answer = world.get("files/file-1", token)
    assert answer.status_code == (403 if token == "stranger.pod.1" else 401)
    assert world.put(MINE + "x", b"1", token).status_code == answer.status_code


def test_nobody_is_let_in_while_tokens_cannot_be_reviewed(
    world: World, error_of: Callable[..., dict[str, Any]]
) -> None:
    world.reviewer.down = True
    answer = world.get("files/file-1")
    assert error_of(answer, 503)["code"] == "review_unavailable"
    assert answer.headers["retry-after"] == "1"
    world.reviewer.down = False
    assert world.get("files/file-1").status_code == 200


def test_tokens_that_are_guessed_do_not_flood_the_api_server(make_world: Callable[..., World]) -> None:
    world = make_world(reviews_per_s=0.1)
    answers = [world.get("k", f"guess.{n}.x").status_code for n in range(50)]
    assert answers.count(429) >= 40
    assert world.reviewer.asked <= 10


# ---- what -----------------------------------------------------------------------------------------


def test_a_job_reads_what_it_needs(world: World, tmp_path: Path) -> None:
    world.context.store.put(layout.failure_key(JOB, 1, "earlier-pod"), b"why")
    for key in (
        layout.spec_key(JOB, 1),
        layout.failure_key(JOB, 1, "earlier-pod"),
        "files/file-1",
        "files/file-probe",
    ):
        assert world.get(key).status_code == 200, key
    elsewhere = f"file://{tmp_path}/elsewhere/base"
    assert world.get("config.json", store=elsewhere).content == b"{}"
    assert world.get("other.json", store=elsewhere).status_code == 403
    assert world.get("base/config.json", store=f"file://{tmp_path}/elsewhere").status_code == 403


def test_f7_foreign_objects_answer_the_same_whether_they_are_there_or_not(
    world: World, tmp_path: Path
) -> None:
    world.context.store.put("jobs/ftjob-other/result.json", b"secret")
    for there, absent in [
        ("files/file-2", "files/file-3"),
        ("jobs/ftjob-other/result.json", "jobs/ftjob-xxxxx/result.json"),
    ]:
        for method in ("GET", "HEAD", "DELETE"):
            query = {"store": world.context.store.uri}
            answers = [
                world.ask(method, "/v1/objects", params={**query, "key": key}) for key in (there, absent)
            ]
            assert [answer.status_code for answer in answers] == [403, 403]
            bodies = [answer.text.replace(there, "KEY").replace(absent, "KEY") for answer in answers]
            assert len({body.split('"instance"')[0] for body in bodies}) == 1
    assert world.get("x", store=f"file://{tmp_path}").status_code == 403
    assert world.get("passwd", store="file:///etc").status_code == 403
    assert world.get("x", store="ftp://nowhere").status_code == 403


def test_own_objects_that_are_missing_say_so(world: World, error_of: Callable[..., dict[str, Any]]) -> None:
    answer = world.get(RESULT)
    assert error_of(answer, 404)["code"] == "object_missing"
    assert answer.headers[CODE_HEADER] == "object_missing"


def test_f7_a_job_writes_below_its_own_prefix_and_commits_once(
    world: World, error_of: Callable[..., dict[str, Any]]
) -> None:
    assert world.put(MINE + "report.json", b"{}").status_code == 201
    assert error_of(world.put(RESULT, b"mine"), 403)["code"] == "not_allowed"
    assert world.put(RESULT, b"mine", once=True).status_code == 201
    assert world.put(RESULT, b"mine", once=True).status_code == 201  # its answer was lost
    assert error_of(world.put(RESULT, b"other", once=True), 412)["code"] == "object_exists"
    assert world.context.store.get(RESULT) == b"mine"
    query = {"store": world.context.store.uri, "key": RESULT}
    assert world.ask("DELETE", "/v1/objects", params=query).status_code == 403


def test_a_listing_is_of_the_own_job(world: World) -> None:
    world.put(MINE + "a", b"12")
    query = {"store": f"{world.context.store.uri}/jobs/{JOB}", "prefix": "attempts/1/"}
    page = world.ask("GET", "/v1/listing", params=query).json()
    assert {listed["key"] for listed in page["objects"]} == {"attempts/1/spec.json", f"attempts/1/{UID}/a"}
    for prefix in ("", "jobs/", f"jobs/{JOB}", "files/"):
        query = {"store": world.context.store.uri, "prefix": prefix}
        assert world.ask("GET", "/v1/listing", params=query).status_code == 403
    query = {"store": world.context.store.uri, "prefix": MINE}
    assert world.ask("DELETE", "/v1/listing", params=query).json() == {"deleted": 1}
    assert world.ask("DELETE", "/v1/listing", params={**query, "prefix": MINE[:-1]}).status_code == 400


def test_ranges(world: World) -> None:
    world.put(MINE + "a", b"0123456789")
    answer = world.get(MINE + "a", headers={"range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["content-range"] == "bytes 2-4/10"
    assert answer.headers[SIZE_HEADER] == "10"
    assert world.get(MINE + "a", headers={"range": "bytes=10-"}).status_code == 416
    assert world.get(MINE + "a", headers={"range": "chapters=1-2"}).status_code == 400


def test_a_scan_reads_its_file_alone(world: World) -> None:
    assert world.get("files/file-2", "scan.pod.1").status_code == 200
    assert world.get("files/file-1", "scan.pod.1").status_code == 403
    assert world.put("scans/scan-abc/result.json", b"1", "scan.pod.1", once=True).status_code == 201


def test_an_endpoint_reads_the_model_that_it_serves_while_it_does(world: World) -> None:
    prefix = layout.model_prefix(JOB, 1, "p", "hardened")
    weights = world.context.store.put(f"{prefix}model.safetensors", b"w")
    world.context.store.put(f"{prefix}secret", b"s")
    world.context.store.put(layout.endpoint_order_key("ep-1"), b"{}")
    token = "endpoint.pod.1"
    assert world.get(f"{prefix}model.safetensors", token).status_code == 403  # there is no such endpoint
    with world.context.database.writing() as session:
        session.add(
            ModelRow(
                id="m",
                job_id=JOB,
                arm="hardened",
                uri=f"{world.context.store.uri}/{prefix}",
                files=[weights.model_dump()],
                architecture="decoder",
                parameters=1,
                created_at=1,
                deleted=False,
            )
        )
        session.add(EndpointRow(id="ep-1", model_id="m", status="starting", created_at=1))
    assert world.get(f"{prefix}model.safetensors", token).content == b"w"
    assert (
        world.get("model.safetensors", token, store=f"{world.context.store.uri}/{prefix[:-1]}").content
        == b"w"
    )
    assert world.get(layout.endpoint_order_key("ep-1"), token).status_code == 200
    for key in (f"{prefix}secret", layout.endpoint_order_key("ep-2"), layout.spec_key(JOB, 1)):
        assert world.get(key, token).status_code == 403
    assert world.put(f"{prefix}model.safetensors", b"x", token).status_code == 403
    with world.context.database.writing() as session:
        row = session.get(EndpointRow, "ep-1")
        assert row is not None
        row.status = "stopped"
    assert world.get(f"{prefix}model.safetensors", token).status_code == 403


# ---- bad input ------------------------------------------------------------------------------------

HOSTILE = [
    f"{MINE}../../../../files/file-2",
    f"{MINE}%2e%2e/x",
    "..",
    "/etc/passwd",
    f"jobs/{JOB}/../ftjob-other/result.json",
    f"{MINE}a\0b",
    f"{MINE}a\nb",
    f"{MINE}\u2028",
    f"{MINE}\u202e.json",
    MINE + "x" * 300,
    MINE + "x/" * 500 + "x",
    "x" * 5000,
    "",
    f"{MINE}.tmp/x",
    "broker/x/y",
]


@pytest.mark.parametrize("key", HOSTILE, ids=lambda key: ascii(key)[:30])
def test_hostile_keys_reach_nothing(world: World, key: str) -> None:
    before = [info.key for info in world.context.store.list("")]
    for method in ("GET", "PUT", "DELETE"):
        query = f"store={quote(world.context.store.uri, safe='')}&key={quote(key, safe='')}"
        answer = world.ask(
            method, f"/v1/objects?{query}", content=b"", headers={SHA256_HEADER: sha256_hex(b"")}
        )
        assert answer.status_code in {400, 403, 404}, (method, answer.text)
    assert [info.key for info in world.context.store.list("")] == before


@pytest.mark.parametrize(
    "query",
    [
        "key=x",
        "store=x",
        "store={own}&key=files/file-2&key=files%2Ffile-3",
        "store={own}/jobs&key=../files/file-2",
        "store={own}%2Fjobs%2F..&key=files/file-2",
        "store={own}/jobs/../files&key=file-2",
        "store={own}//files&key=file-2",
        "store={own}/&key=files/file-2",
        "store={own}&key=files%252Ffile-2",
        "store={own}&key=%ff%fe",
        "store={own}&key=files%2Ffile-2%00",
    ],
)
def test_hostile_queries_reach_nothing(world: World, query: str) -> None:
    answer = world.ask("GET", "/v1/objects?" + query.replace("{own}", world.context.store.uri))
    assert answer.status_code in {400, 403}, answer.text
    assert answer.content != b"1"


def test_bodies_are_what_they_say(world: World, error_of: Callable[..., dict[str, Any]]) -> None:
    key = MINE + "x"
    assert error_of(world.put(key, b"12", **{SHA256_HEADER: "0" * 64}), 400)["code"] == "sha256_mismatch"
    assert error_of(world.put(key, b"12", **{SHA256_HEADER: "x"}), 400)["code"] == "sha256_required"
    assert error_of(world.put(key, bytes((1 << 20) + 1)), 413)["code"] == "too_large"
    assert world.put(RESULT, bytes((4 << 20) + 1), once=True).status_code == 413
    assert world.put(key, b"12", **{"if-none-match": '"etag"'}).status_code == 400
    query = {"store": world.context.store.uri, "key": key}
    chunked = world.ask(
        "PUT", "/v1/objects", params=query, content=iter([b"1"]), headers={SHA256_HEADER: "0" * 64}
    )
    assert error_of(chunked, 400)["code"] == "length_required"
    assert world.context.store.info(key) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"part_size_bytes": 1}', b'{"part_size_bytes": 8388608, "x": 1}', b"\xff"]
)
def test_bodies_that_are_no_document_are_refused(world: World, body: bytes) -> None:
    query = {"store": world.context.store.uri, "key": MINE + "x"}
    assert world.ask("POST", "/v1/uploads", params=query, content=body).status_code == 400


def test_a_pod_that_has_stored_enough_stores_no_more(
    make_world: Callable[..., World], error_of: Callable[..., dict[str, Any]]
) -> None:
    world = make_world(max_objects=2, max_bytes=1000)
    assert [world.put(f"{MINE}{n}", b"1").status_code for n in range(3)] == [201, 201, 507]
    assert error_of(world.put(f"{MINE}3", b"1"), 507)["code"] == "quota_exceeded"
    assert world.put(RESULT, b"{}", once=True).status_code == 201  # what it has done still counts
    query = {"store": world.context.store.uri, "key": f"{MINE}0"}
    assert world.ask("DELETE", "/v1/objects", params=query).status_code == 204
    assert world.put(f"{MINE}3", b"1").status_code == 201


def test_a_pod_that_asks_too_often_is_told_to_wait(make_world: Callable[..., World]) -> None:
    world = make_world(requests_per_s=0.1, burst=3)
    answers = [world.get("files/file-1") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert world.get("files/file-1", "other.job.1").status_code == 200


# ---- what is said of it ---------------------------------------------------------------------------


def test_writes_are_logged_by_ids_and_counted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.put(MINE + "a", b"12")
    world.put(RESULT, b"mine", once=True)
    world.put("files/file-1", b"x")
    lines = [record.getMessage() for record in caplog.records if record.name == "service.broker.audit"]
    assert len(lines) == 2
    assert lines[0].startswith(f"action=write outcome=done object={world.context.store.uri}/{MINE}a bytes=2 ")
    assert f"pod=temper-jobs/harden-abc-1-x4k2z uid={UID} request=req-" in lines[0]
    assert lines[1].startswith("action=write_once outcome=done ")
    assert not any("job.pod.1" in record.getMessage() for record in caplog.records)
    figures = world.http.get("/metrics").text
    for figure in (
        'temper_broker_writes_total{action="write",outcome="done"} 1.0',
        'temper_broker_writes_total{action="write_once",outcome="done"} 1.0',
        'temper_broker_refused_total{code="not_allowed"} 1.0',
        'temper_broker_bytes_total{direction="in",way="through"} 6.0',
        'temper_broker_token_reviews_total{outcome="pod"} 1.0',
        'temper_broker_token_reviews_total{outcome="remembered"} 2.0',
        "temper_broker_requests_in_flight 0.0",
    ):
        assert figure in figures, figure
    assert JOB not in figures


# ---- configuration --------------------------------------------------------------------------------


def test_a_broker_without_a_cluster_does_not_start(context: Context) -> None:
    with pytest.raises(SettingsError, match="TEMPER_CLUSTER_FILE"):
        create_broker_app(context)
    with pytest.raises(SettingsError, match="TEMPER_CLUSTER_FILE"):
        create_broker_app(context, reviewer=FakeReviewer())


def test_a_broker_is_not_its_own_client(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPER_BROKER_URL", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match="TEMPER_BROKER_URL"):
        create_broker_app(replace(context, store=open_store("s3://bucket/x")))
