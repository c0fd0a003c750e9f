"""Apps with limits for all projects."""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.context import Context
from service.limits.numbers import Limits
from service.tables import ProjectRow

KEY = "operator-key-of-this-test"


@pytest.fixture
def limited(context: Context) -> Iterator[Callable[..., TestClient]]:
    """Clients of apps with such defaults: ``limited(stored_bytes=100)``."""
    opened: list[TestClient] = []
    with context.database.writing() as session:
        session.add(ProjectRow(id="proj-two", name="two", created_at=1))

    def make(project: str = "default", **limits: int) -> TestClient:
        settings = replace(context.settings, limits=Limits(**limits), api_key=KEY)
        client = TestClient(create_app(replace(context, settings=settings)), base_url="http://127.0.0.1:8000")
        client.headers.update({"authorization": f"Bearer {KEY}", "openai-project": project})
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def send() -> Callable[..., Any]:
    """Uploads a file: ``send(api, content)``."""

    def post(api: TestClient, content: bytes, **headers: str) -> Any:
        return api.post(
            "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a", content)}, headers=headers
        )

    return post


@pytest.fixture
def usage() -> Callable[[TestClient, str], float]:
    """What is used of a limit: ``usage(api, "endpoints")``."""

    def read(api: TestClient, name: str) -> float:
        found: float = api.get("/v1/organization/usage").json()["limits"][name]["used"]
        return found

    return read
