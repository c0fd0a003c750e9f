"""A service with an operator's key, and tenants."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from service.context import Context

OPERATOR = "the-operators-key"
PROJECTS = "/v1/organization/projects"
EVERY = ["read", "train", "deploy", "infer", "webhooks", "keys"]


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A project, and calls with a key of it."""

    api: TestClient
    project: str
    key_id: str
    key: str

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request with the key."""
        headers = {"authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        return self.api.request(method, path, headers=headers, **more)


@pytest.fixture
def operator(api: TestClient, context: Context) -> Callable[..., httpx.Response]:
    """Calls with the operator's key."""
    object.__setattr__(context.settings, "api_key", OPERATOR)

    def call(method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {OPERATOR}", **more.pop("headers", {})}
        return api.request(method, path, headers=headers, **more)

    return call


@pytest.fixture
def tenant(api: TestClient, operator: Callable[..., httpx.Response]) -> Callable[..., Tenant]:
    """Makes a project with a key: ``tenant(scopes=["read"], expires_in_s=60)``; ``project`` takes one that is there."""

    def make(*, project: str | None = None, scopes: list[str] | None = None, **more: Any) -> Tenant:
        if project is None:
            project = operator("POST", PROJECTS, json={"name": "a tenant"}).json()["id"]
        body = {"name": "a key", "scopes": scopes or EVERY, **more}
        made = operator("POST", f"{PROJECTS}/{project}/api_keys", json=body)
        assert made.status_code == 200, made.text
        return Tenant(api=api, project=project, key_id=made.json()["id"], key=made.json()["value"])

    return make
