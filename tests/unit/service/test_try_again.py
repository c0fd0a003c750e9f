"""A transaction that lost against another one is tried again, with the same body."""

from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi import Request
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from service.errors import Unavailable
from service.handlers import install_handlers
from service.metrics import Metrics
from service.middleware import Around
from service.try_again import TRIES
from service.try_again import TryAgain
from service.try_again import mark_lost


class LostError(Exception):
    """As psycopg's."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.fixture
def seen() -> list[bytes]:
    return []


@pytest.fixture
def client(seen: list[bytes]) -> TestClient:
    app = FastAPI()
    app.add_middleware(TryAgain, limit_bytes=100)
    app.add_middleware(Around, metrics=Metrics())
    install_handlers(app)

    @app.post("/lose/{times}/{sqlstate}")
    async def lose(times: int, sqlstate: str, request: Request) -> dict[str, Any]:
        seen.append(await request.body())
        if len(seen) <= times:
            raise OperationalError("UPDATE", None, LostError(sqlstate))
        return {"tries": len(seen)}

    @app.post("/unavailable")
    async def unavailable() -> None:
        seen.append(b"")
        raise Unavailable("not now")

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_the_loser_is_served_again_unseen(client: TestClient, seen: list[bytes], sqlstate: str) -> None:
    answer = client.post(f"/lose/{TRIES - 1}/{sqlstate}", json={"a": 1})
    assert (answer.status_code, answer.json()) == (200, {"tries": TRIES})
    assert len(set(seen)) == 1
    assert b'"a"' in seen[0]


def test_a_request_without_a_body_is_served_again(client: TestClient) -> None:
    assert client.post("/lose/1/40P01").json() == {"tries": 2}


def test_it_ends_some_time(client: TestClient, seen: list[bytes]) -> None:
    answer = client.post("/lose/100/40P01", json={})
    assert (answer.status_code, len(seen)) == (503, TRIES)
    assert answer.headers["retry-after"]
    assert answer.json()["error"]["code"] == "database_unavailable"


def test_other_failures_are_told_at_once(client: TestClient, seen: list[bytes]) -> None:
    assert client.post("/lose/1/57014", json={}).status_code == 503
    assert client.post("/unavailable", json={}).status_code == 503
    assert len(seen) == 2


def test_a_form_is_not_served_again(client: TestClient, seen: list[bytes]) -> None:
    answer = client.post("/lose/1/40P01", files={"file": ("a", b"x")})
    assert (answer.status_code, len(seen)) == (503, 1)


def test_a_body_beyond_the_limit_is_passed_on_and_not_kept() -> None:
    parts = [{"type": "http.request", "body": bytes(80), "more_body": True} for _ in range(3)]
    parts.append({"type": "http.request", "body": b"end", "more_body": False})
    received: list[bytes] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        mark_lost(scope)
        while True:
            message = await receive()
            received.append(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 503, "headers": []})

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "headers": headers, "state": {}}
    anyio.run(TryAgain(app, limit_bytes=100), scope, receive, send)
    assert received == [bytes(80)] * 3 + [b"end"]
    assert len(sent) == 1
