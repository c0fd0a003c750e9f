"""The clock that all processes share: whatever happens to a machine's own."""

import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from deploy.store.opening import open_store
from service.app import create_app
from service.clock import RESYNC_S
from service.clock import SharedClock
from service.context import Context
from service.database import Database
from service.roles.opening import clock_of
from service.settings import settings_from_env


class Machine:
    """A machine's monotonic clock, and the shared clock as its database tells it."""

    def __init__(self) -> None:
        self.monotonic = 50.0
        self.shared = 1_000_000.0
        self.reads = 0
        self.down = False

    def pass_by(self, seconds: float) -> None:
        self.monotonic += seconds
        self.shared += seconds

    def read(self) -> float:
        self.reads += 1
        if self.down:
            raise OperationalError("SELECT", None, OSError())
        return self.shared

    def clock(self) -> SharedClock:
        return SharedClock(self.read, monotonic=lambda: self.monotonic)


def test_h1_it_tells_the_shared_time_and_asks_for_it_rarely() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(20):
        assert clock.now() == pytest.approx(machine.shared)
        machine.pass_by(1.0)
    assert machine.reads == 1


def test_a_shared_clock_that_is_set_is_followed() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.now()
    machine.shared += 500
    machine.pass_by(RESYNC_S + 1)
    assert clock.now() == pytest.approx(machine.shared)


def test_without_a_database_time_goes_on() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.down = True
    with pytest.raises(OperationalError):
        clock.now()
    machine.down = False
    clock.now()
    machine.down = True
    for _ in range(5):
        machine.pass_by(RESYNC_S / 2 + 1)
        assert clock.now() == pytest.approx(machine.shared)
    assert machine.reads < 6
    machine.down = False
    machine.pass_by(RESYNC_S + 1)
    assert clock.now() == pytest.approx(machine.shared)


def test_h2_a_machine_whose_clock_jumps_back_decides_nothing_else(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_from_env(
        {"TEMPER_HOME": str(tmp_path), "TEMPER_DATABASE_URL": postgres_url}, role="api"
    )
    database = Database(settings.database_url, settings.database)
    store = open_store(settings.store_uri)

    def replica() -> TestClient:
        context = Context(settings=settings, database=database, store=store, clock=clock_of(database))
        return TestClient(create_app(context), base_url="http://127.0.0.1:8000")

    with replica() as api:
        source = {"type": "hub", "repo": "a/b", "revision": "a" * 40}
        api.post("/v1/base_models", json={"id": "hub", "source": source})
        fields = {
            "purpose": "fine-tune",
            "expires_after[anchor]": "created_at",
            "expires_after[seconds]": "3600",
        }
        file = api.post("/v1/files", data=fields, files={"file": ("t.jsonl", b"{}\n")}).json()
        body = {"model": "hub", "training_file": file["id"], "seed": 0}
        headers = {"idempotency-key": "once"}
        job = api.post("/v1/fine_tuning/jobs", json=body, headers=headers).json()
    today = time.time()
    for days in (-2, 2):
        monkeypatch.setattr(time, "time", lambda days=days: today + days * 86_400)
        with replica() as api:
            assert api.get(f"/v1/files/{file['id']}").status_code == 200
            again = api.post("/v1/fine_tuning/jobs", json=body, headers=headers).json()
            assert again["id"] == job["id"]
            new = api.post("/v1/files", data={"purpose": "evals"}, files={"file": ("a", b"x")}).json()
            assert abs(new["created_at"] - today) < 600
    database.close()
