"""The last of what a project may have, asked for many times at once, on each database."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import text
from starlette.testclient import TestClient

from service.context import Context
from service.limits.rows import ByteReservationRow

Error = Callable[..., dict[str, Any]]


def test_the_last_room_is_given_once(
    limited: Callable[..., TestClient],
    context: Context,
    send: Callable[..., Any],
    usage: Callable[[TestClient, str], float],
) -> None:
    api = limited(stored_bytes=1000)
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: send(api, bytes(300)).status_code, range(12)))
    assert set(codes) == {200, 429}
    stored = codes.count(200)
    assert 1 <= stored <= 3
    assert usage(api, "stored_bytes") == stored * 300
    assert len(list(context.store.list(""))) == stored
    with context.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(ByteReservationRow)) == 0


def test_a_project_has_so_many_unfinished_jobs_and_scans(
    limited: Callable[..., TestClient],
    context: Context,
    error_of: Error,
    send: Callable[..., Any],
    usage: Callable[[TestClient, str], float],
) -> None:
    api = limited(unfinished_jobs=3)
    file = send(api, b"x").json()["id"]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: api.post("/v1/scans", json={"file": file}).status_code, range(8)))
    assert sorted(codes) == [200] * 3 + [429] * 5
    refused = api.post("/v1/scans", json={"file": file})
    assert error_of(refused, 429)["code"] == "unfinished_jobs_exceeded"
    assert refused.headers["x-should-retry"] == "false"
    scan = api.get("/v1/scans").json()["data"][0]["id"]
    assert api.post(f"/v1/scans/{scan}/cancel").status_code == 200
    assert api.post("/v1/scans", json={"file": file}).status_code == 200
    assert usage(api, "unfinished_jobs") == 3


def test_a_lock_of_one_project_holds_up_no_other(
    limited: Callable[..., TestClient], context: Context, send: Callable[..., Any]
) -> None:
    if not context.database.shared:
        pytest.skip("SQLite has one writer anyway")
    api, other = limited(stored_bytes=1000), limited("proj-two", stored_bytes=1000)
    assert send(api, b"x").status_code == 200
    assert send(other, b"x").status_code == 200
    with context.database.engine.begin() as connection:
        connection.execute(text("SELECT 1 FROM project_limits WHERE project = 'default' FOR UPDATE"))
        assert send(other, b"x").status_code == 200
