"""What a project may have: counted under a lock in the transaction that makes more, refused with the limit's name."""

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from deploy.store.protocol import ObjectStore
from service.context import Context
from service.files.repository import FileRepository
from service.limits.fleet import forget_lapsed
from service.limits.fleet import limits_of
from service.limits.fleet import without_gpu_hours
from service.limits.numbers import Limits
from service.limits.quotas import RESERVED_S
from service.limits.rows import ByteReservationRow
from service.tables import FileRow
from service.tables import JobRow
from service.work.machines import leaving

Error = Callable[..., dict[str, Any]]
KEY = "operator-key-of-this-test"
UPLOAD = {"filename": "d", "purpose": "fine-tune", "mime_type": "text/plain"}


def objects(store: ObjectStore) -> list[str]:
    return [found.key for found in store.list("")]


def model_body(size_bytes: int) -> dict[str, Any]:
    files = [
        {"name": name, "size_bytes": size_bytes, "sha256": "0" * 64}
        for name in ("config.json", "model.safetensors", "tokenizer.json")
    ]
    return {"source": {"type": "upload", "files": files}}


def refused_for_good(answer: Any, error_of: Error, code: str) -> None:
    assert error_of(answer, 429)["code"] == code
    assert answer.headers["x-should-retry"] == "false"


def test_b15_what_is_too_much_is_refused_when_it_is_declared(
    limited: Callable[..., TestClient],
    context: Context,
    error_of: Error,
    send: Callable[..., Any],
    usage: Callable[[TestClient, str], float],
) -> None:
    api = limited(stored_bytes=3000)
    refused_for_good(api.post("/v1/base_models", json=model_body(10_000)), error_of, "stored_bytes_exceeded")
    refused_for_good(
        api.post("/v1/uploads", json={**UPLOAD, "bytes": 3001}), error_of, "stored_bytes_exceeded"
    )
    refused_for_good(send(api, bytes(3001)), error_of, "stored_bytes_exceeded")
    assert objects(context.store) == []
    assert usage(api, "stored_bytes") == 0
    assert api.post("/v1/base_models", json=model_body(500)).status_code == 200
    assert usage(api, "stored_bytes") == 1500
    assert api.post("/v1/uploads", json={**UPLOAD, "bytes": 1400}).status_code == 200
    refused_for_good(send(api, bytes(200)), error_of, "stored_bytes_exceeded")
    # Another project's room is its own.
    assert send(limited("proj-two", stored_bytes=3000), bytes(200)).status_code == 200


def test_b15_declared_small_and_sent_large_leaves_nothing(
    limited: Callable[..., TestClient],
    context: Context,
    error_of: Error,
    usage: Callable[[TestClient, str], float],
) -> None:
    api = limited(stored_bytes=1000)

    def form() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(20):
            yield bytes(100)
        yield b"\r\n--b--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b"}  # chunked: no length is declared
    answer = api.post("/v1/files", content=form(), headers=headers)
    assert error_of(answer, 429)["code"] == "stored_bytes_exceeded"
    model = api.post("/v1/base_models", json=model_body(10)).json()["id"]
    answer = api.put(f"/v1/base_models/{model}/files/config.json", content=bytes(900))
    assert error_of(answer, 400)["code"] == "size_mismatch"
    assert error_of(api.post(f"/v1/base_models/{model}/complete"), 400)["code"] == "file_missing"
    assert objects(context.store) == []
    assert usage(api, "stored_bytes") == 30


def test_b15_parts_beyond_what_was_announced_need_room(
    limited: Callable[..., TestClient],
    context: Context,
    error_of: Error,
    usage: Callable[[TestClient, str], float],
) -> None:
    api = limited(stored_bytes=100)
    upload = api.post("/v1/uploads", json={**UPLOAD, "bytes": 60}).json()["id"]

    def part() -> Any:
        return api.post(f"/v1/uploads/{upload}/parts", files={"data": ("upload", bytes(40))})

    assert [part().status_code for _ in range(2)] == [200, 200]
    assert usage(api, "stored_bytes") == 80
    refused_for_good(part(), error_of, "stored_bytes_exceeded")
    assert len(objects(context.store)) == 2
    api.post(f"/v1/uploads/{upload}/cancel")
    assert usage(api, "stored_bytes") == 0


def test_room_comes_back_when_something_is_deleted(
    limited: Callable[..., TestClient], send: Callable[..., Any], usage: Callable[[TestClient, str], float]
) -> None:
    api = limited(stored_bytes=1000)
    first = send(api, bytes(600)).json()["id"]
    assert send(api, bytes(600)).status_code == 429
    assert usage(api, "stored_bytes") == 600
    assert api.delete(f"/v1/files/{first}").status_code == 200
    assert send(api, bytes(600)).status_code == 200


def test_a_repeated_request_for_the_last_room_gets_its_answer(
    limited: Callable[..., TestClient], send: Callable[..., Any]
) -> None:
    api = limited(stored_bytes=1000)
    first = send(api, bytes(700), **{"idempotency-key": "k"})
    again = send(api, bytes(700), **{"idempotency-key": "k"})
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content


def test_a_file_that_fails_keeps_no_room(
    limited: Callable[..., TestClient],
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    send: Callable[..., Any],
    usage: Callable[[TestClient, str], float],
) -> None:
    api = limited(stored_bytes=1000)

    def fail(*_args: object) -> None:
        raise RuntimeError("nobody foresaw this")

    with monkeypatch.context() as broken:
        broken.setattr(FileRepository, "add", fail)
        assert send(api, bytes(900)).status_code == 500
    assert usage(api, "stored_bytes") == 0


def test_what_a_dead_process_reserved_lapses(
    limited: Callable[..., TestClient], context: Context, usage: Callable[[TestClient, str], float]
) -> None:
    api = limited(stored_bytes=1000)
    with context.database.writing() as session:
        now = context.database.now()
        for identity, left_s in (("file-dead", -1.0), ("file-slow", RESERVED_S)):
            row = ByteReservationRow(id=identity, project="default", bytes=300, expires_at=now + left_s)
            session.add(row)
    assert usage(api, "stored_bytes") == 300
    with context.database.writing() as session:
        forget_lapsed(session)
    with context.database.reading() as session:
        assert list(session.scalars(select(ByteReservationRow.id))) == ["file-slow"]


# ---- requests -----------------------------------------------------------------------------


def test_a10_too_many_requests_of_one_project_are_told_when_to_come_back(
    limited: Callable[..., TestClient], error_of: Error
) -> None:
    api = limited(requests_per_minute=5)
    answers = [api.get("/v1/files") for _ in range(7)]
    assert [answer.status_code for answer in answers] in ([200] * 5 + [429] * 2, [200] * 7)
    if answers[-1].status_code == 200:
        pytest.skip("a minute began meanwhile")
    assert answers[0].headers["x-ratelimit-limit-requests"] == "5"
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "4"
    assert answers[0].headers["x-ratelimit-reset-requests"].endswith("s")
    assert error_of(answers[-1], 429)["code"] == "requests_per_minute_exceeded"
    assert error_of(answers[-1], 429)["type"] == "rate_limit_error"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert api.get("/healthz").status_code == 200
    assert limited("proj-two", requests_per_minute=5).get("/v1/files").status_code == 200


def test_without_limits_no_header_tells_of_any(limited: Callable[..., TestClient]) -> None:
    assert "x-ratelimit-limit-requests" not in limited().get("/v1/files").headers


# ---- numbers ------------------------------------------------------------------------------


def add_file(context: Context) -> None:
    with context.database.writing() as session:
        session.add(
            FileRow(id="file-t", filename="f", purpose="fine-tune", bytes=1, sha256="0", created_at=1)
        )


def job(number: int, **more: Any) -> JobRow:
    values: dict[str, Any] = {
        "id": f"ftjob-{number}",
        "model": "m",
        "training_file": "file-t",
        "method": {},
        "hyperparameters": {},
        "hardening": {},
        "seed": 0,
        "status": "queued",
        "phase": "queued",
        "created_at": number,
    }
    return JobRow(**{**values, **more})


def test_gpu_hours_are_those_of_every_attempt_within_thirty_days(
    limited: Callable[..., TestClient],
    context: Context,
    error_of: Error,
    usage: Callable[[TestClient, str], float],
) -> None:
    add_file(context)
    now = int(context.database.now())
    month = 30 * 86_400
    with context.database.writing() as session:
        session.add(job(1, gpus=2, machine_s=3600, status="succeeded", phase="succeeded", finished_at=now))
        session.add(
            job(2, gpus=4, machine_s=1800, status="running", phase="training", launched_at=now - 1800)
        )
        session.add(job(3, gpus=8, machine_s=9999, status="failed", phase="failed", finished_at=now - month))
        session.add(job(4, gpus=8, status="queued", phase="launching", launched_at=now - 5000))
        session.add(job(5, gpus=8, machine_s=9999, project="proj-two", phase="queued"))
    api = limited(gpu_hours=6)
    assert usage(api, "gpu_hours") == pytest.approx(6.0, abs=0.05)
    body = {"model": "m", "training_file": "file-t"}
    refused_for_good(api.post("/v1/fine_tuning/jobs", json=body), error_of, "gpu_hours_exceeded")
    with context.database.reading() as session:
        limits = limits_of(session, {"default", "proj-two"}, Limits(gpu_hours=10))
        assert without_gpu_hours(session, limits) == {"proj-two"}


def test_time_on_machines_is_added_when_an_attempt_leaves_them(context: Context) -> None:
    add_file(context)
    now = int(context.database.now())
    changes: list[tuple[JobRow, dict[str, Any], int]] = [
        (job(1, phase="training", launched_at=now - 100), {"phase": "retrying"}, 100),
        (job(2, phase="training", launched_at=now - 100, machine_s=7), {"phase": "succeeded"}, 107),
        (job(3, phase="training", launched_at=now - 100), {"estimated_finish": 1}, 0),
        (job(4, phase="launching", launched_at=now - 100), {"phase": "cancelled"}, 0),
        (job(5, phase="paused", launched_at=now - 100, machine_s=50), {"phase": "cancelled"}, 50),
        (job(6, phase="training", launched_at=now + 100, machine_s=50), {"phase": "failed"}, 50),
    ]
    with context.database.writing() as session:
        for row, _, _ in changes:
            session.add(row)
    for row, values, expected in changes:
        with context.database.writing() as session:
            found = session.get(JobRow, row.id)
            assert found is not None
            for name, value in leaving(found, values).items():
                setattr(found, name, value)
        with context.database.reading() as session:
            after = session.get(JobRow, row.id)
            assert after is not None
            assert expected <= after.machine_s <= expected + 30


# ---- what may be read and set -------------------------------------------------------------


def test_limits_are_set_for_a_project_and_read_by_it(
    limited: Callable[..., TestClient], error_of: Error
) -> None:
    operator, tenant = limited(endpoints=2), limited("proj-two", endpoints=2)
    path = "/v1/organization/projects/proj-two/limits"
    changed = operator.post(path, json={"endpoints": 5, "tokens_per_day": 1000}).json()
    assert changed["limits"]["endpoints"] == {"limit": 5, "own": True, "used": 0.0, "resets_at": None}
    seen = tenant.get("/v1/organization/usage").json()
    assert seen["project"] == "proj-two"
    assert seen["limits"]["tokens_per_day"]["limit"] == 1000
    assert seen["limits"]["tokens_per_day"]["resets_at"] % 86_400 == 0
    assert seen["limits"]["requests_per_minute"]["used"] is None
    back = operator.post(path, json={"endpoints": None}).json()
    assert back["limits"]["endpoints"]["limit"] == 2
    assert not back["limits"]["endpoints"]["own"]
    assert operator.get(path).json() == back
    missing = operator.post("/v1/organization/projects/proj-none/limits", json={})
    assert error_of(missing, 404)["code"] == "project_not_found"
    for bad in ({"endpoints": -1}, {"endpoints": 1.5}, {"endpoint": 1}, {"gpu_hours": "1"}):
        assert operator.post(path, json=bad).status_code == 400
