"""A whole app in this process, on a database and a store of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
def settings(tmp_path: Path) -> Settings:
    return settings_from_env({"TEMPER_HOME": str(tmp_path / "home")})


@pytest.fixture
def context(settings: Settings, clock: FakeClock) -> Iterator[Context]:
    database = Database(settings.database_url)
    database.migrate()
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
