"""Who may call."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

from service.app import create_app
from service.auth import OPEN_ROUTES
from service.auth import Authenticated
from service.auth import ScopeCheck
from service.auth import authenticate
from service.context import Context

ErrorOf = Callable[[httpx.Response, int], dict[str, Any]]
KEY = "correct-horse-battery"
SCOPELESS = {"/openapi.json"}
"""Every key may read it: it is about no project."""


@pytest.fixture
def keyed(api: TestClient, context: Context) -> TestClient:
    object.__setattr__(context.settings, "api_key", KEY)
    return api


def dependencies(dependant: Dependant) -> Iterator[object]:
    for each in dependant.dependencies:
        yield each.call
        yield from dependencies(each)


def unprotected(routes: Iterable[BaseRoute]) -> list[str]:
    """Paths of routes that do not ask who calls, or not for a scope."""
    found = []
    for route in routes:
        path = getattr(route, "path", repr(route))
        calls = list(dependencies(route.dependant)) if isinstance(route, APIRoute) else []
        asks = path in SCOPELESS or any(isinstance(call, ScopeCheck) for call in calls)
        if authenticate not in calls or not asks:
            found.append(path)
    return found


def all_routes(context: Context) -> list[BaseRoute]:
    return list(create_app(context).routes)


def test_a3_every_route_but_healths_asks_who_is_there(context: Context) -> None:
    routes = all_routes(context)
    assert len(routes) > 15
    assert set(unprotected(routes)) == OPEN_ROUTES


def test_a3_a_route_without_authentication_is_found(context: Context) -> None:
    app = create_app(context)
    app.add_api_route("/v1/forgotten", lambda: None)
    app.add_api_route("/v1/without_scope", lambda: None, dependencies=[Authenticated])
    assert {"/v1/forgotten", "/v1/without_scope"} <= set(unprotected(app.routes))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        "Bearer wrong",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY} {KEY}",
        b"Bearer \xff\xfe",
    ],
)
def test_a2_without_the_key_there_is_one_answer(
    keyed: TestClient, error_of: ErrorOf, header: str | bytes | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    response = keyed.get("/v1/files", headers=headers)  # type: ignore[arg-type]
    error = error_of(response, 401)
    assert error == error_of(keyed.get("/v1/files/any", headers={"authorization": "Bearer other"}), 401)
    assert error["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_the_key_one_may_call(keyed: TestClient, scheme: str) -> None:
    assert keyed.get("/v1/files", headers={"authorization": f"{scheme} {KEY}"}).status_code == 200


@pytest.mark.parametrize("path", sorted(OPEN_ROUTES))
def test_whoever_operates_needs_no_key(keyed: TestClient, path: str) -> None:
    assert keyed.get(path).status_code == 200


@pytest.mark.parametrize("host", ["x/healthz", "x/healthz?", "x#/metrics", "127.0.0.1/healthz"])
def test_a_forged_host_opens_nothing(keyed: TestClient, error_of: ErrorOf, host: str) -> None:
    error_of(keyed.get("/v1/files", headers={"host": host}), 401)


def test_unauthenticated_bodies_are_not_read(keyed: TestClient, error_of: ErrorOf) -> None:
    response = keyed.post("/v1/uploads", content=b"{", headers={"content-type": "application/json"})
    error_of(response, 401)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://[bad"},
        {"host": "rebound.example:8000"},
        {"host": ""},
    ],
)
def test_without_a_key_foreign_pages_are_refused(
    api: TestClient, error_of: ErrorOf, headers: dict[str, str]
) -> None:
    assert error_of(api.get("/v1/files", headers=headers), 403)["code"] == "foreign_origin"


@pytest.mark.parametrize(
    "headers",
    [{"host": "localhost:8000"}, {"host": "[::1]:8000"}, {"origin": "http://localhost:3000"}, {}],
)
def test_without_a_key_this_machine_may_call(api: TestClient, headers: dict[str, str]) -> None:
    assert api.get("/v1/files", headers=headers).status_code == 200
