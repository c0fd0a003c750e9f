"""A whole app in this process, on a database and a store of its own."""

import json
import shutil
import struct
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from deploy.store.opening import open_store
from service.app import create_app
from service.context import Context
from service.database import Database
from service.settings import Settings
from service.settings import settings_from_env


@dataclass
class FakeClock:
    """A clock that tests move."""

    time: float = 1_800_000_000.0

    def now(self) -> float:
        """Unix seconds."""
        return self.time


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a migrated database of the test's own: see the fixtures of postgresql_server."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(request.getfixturevalue("migrated"), home / "temper.db")
    return f"sqlite:///{home}/temper.db"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return settings_from_env({"TEMPER_HOME": str(tmp_path / "home"), "TEMPER_DATABASE_URL": database_url})


@pytest.fixture
def context(settings: Settings, clock: FakeClock) -> Iterator[Context]:
    settings.home.mkdir(exist_ok=True)
    database = Database(settings.database_url, settings.database)
    context = Context(settings=settings, database=database, store=open_store(settings.store_uri), clock=clock)
    yield context
    context.stopping.set()
    context.checks.shutdown(wait=True, cancel_futures=True)
    database.close()


@pytest.fixture
def api(context: Context) -> Iterator[TestClient]:
    """A client of the app, which never follows the path of an exception out of it."""
    with TestClient(
        create_app(context), base_url="http://127.0.0.1:8000", raise_server_exceptions=False
    ) as client:
        yield client


@pytest.fixture
def error_of() -> Callable[[httpx.Response, int], dict[str, Any]]:
    """OpenAI's error object of a problem, after checking the problem around it."""

    def read(response: httpx.Response, status: int) -> dict[str, Any]:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-request-id"].startswith("req-")
        body = response.json()
        assert body["status"] == status
        assert body["detail"] == body["error"]["message"]
        assert set(body) == {"type", "title", "status", "detail", "instance", "error"}
        error: dict[str, Any] = body["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error

    return read


@pytest.fixture
def model_files() -> dict[str, bytes]:
    """An ordinary model directory, as small as one may be."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [16, 8], "data_offsets": [0, 512]}}).encode()
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 16,
        "hidden_size": 8,
    }
    tokenizer = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": struct.pack("<Q", len(header))
        + header
        + struct.pack("<128f", *(0.01 * each for each in range(1, 129))),
        "tokenizer.json": json.dumps(tokenizer).encode(),
    }
