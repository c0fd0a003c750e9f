"""Jobs in this process: real rows, real store, real reconciler; runs that a test lets happen."""

import importlib.util
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

from deploy.contract.dataset.validation import validate
from deploy.contract.document import StoredFile
from deploy.endpoint.protocol import EndpointError
from deploy.endpoint.protocol import Serve
from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server
from deploy.launch.protocol import Launch
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase
from service.context import Context
from service.reconcile.loop import Reconciler
from service.tables import BaseModelRow

STAND_IN = Path(__file__).parents[3] / "stand_ins" / "job.py"
ROWS = b'{"prompt": "list rows", "completion": "x = 1"}\n' * 20


@pytest.fixture(scope="session")
def stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stand_in_job", STAND_IN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class FakeLauncher:
    """Runs nothing by itself."""

    orders: dict[str, Launch] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    launched: int = 0

    def launch(self, order: Launch) -> None:
        self.launched += 1
        if order.name not in self.runs:
            self.orders[order.name] = order
            self.runs[order.name] = Run(name=order.name, phase=RunPhase.RUNNING)

    def observe(self) -> Mapping[str, Run]:
        return dict(self.runs)

    def stop(self, name: str, *, grace_s: float) -> None:
        self.stopped.append(name)
        self.exit(name, 51)

    def remove(self, name: str) -> None:
        self.removed.append(name)
        self.runs.pop(name, None)

    def log_tail(self, name: str, *, lines: int = 50) -> str:
        return f"log of {name}"

    def close(self) -> None:
        """Nothing runs."""

    def exit(self, name: str, code: int) -> None:
        self.runs[name] = Run(name=name, phase=RunPhase.EXITED, exit_code=code)


@dataclass
class FakeBackend:
    """Servers that a test lets become ready or fail."""

    servers: dict[str, Server] = field(default_factory=dict)
    orders: dict[str, Serve] = field(default_factory=dict)
    refuses: str | None = None

    def serve(self, order: Serve) -> None:
        if self.refuses is not None:
            raise EndpointError(self.refuses)
        self.orders[order.name] = order
        self.servers.setdefault(order.name, Server(name=order.name, phase=ServePhase.STARTING))

    def observe(self) -> Mapping[str, Server]:
        return dict(self.servers)

    def remove(self, name: str) -> None:
        self.servers.pop(name, None)

    def close(self) -> None:
        """Nothing is served."""


@dataclass
class World:
    """Everything around the API."""

    context: Context
    api: TestClient
    launcher: FakeLauncher
    backend: FakeBackend
    reconciler: Reconciler
    run_job: Callable[..., int]
    pods: int = 0

    def upload(self, content: bytes = ROWS, *, purpose: str = "fine-tune", name: str = "t.jsonl") -> str:
        answer = self.api.post("/v1/files", data={"purpose": purpose}, files={"file": (name, content)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def create(self, **more: Any) -> dict[str, Any]:
        body = {
            "model": "tiny",
            "training_file": more.pop("training_file", None) or self.upload(),
            "seed": 0,
            **more,
        }
        answer = self.api.post("/v1/fine_tuning/jobs", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.api.get(f"/v1/fine_tuning/jobs/{job_id}").json())

    def events(self, job_id: str) -> list[dict[str, Any]]:
        return list(self.api.get(f"/v1/fine_tuning/jobs/{job_id}/events?limit=100").json()["data"])

    def restart(self) -> None:
        """The service's memory is gone; launcher, store and rows are there."""
        self.reconciler.close()
        self.context.metrics.registry._names_to_collectors.clear()
        self.context.metrics.registry._collector_to_names.clear()
        self.reconciler = Reconciler(self.context, self.launcher, self.backend, validate=validate)

    def settle(self, *, until: str | None = None, job_id: str | None = None, ticks: int = 200) -> None:
        """Tick until nothing is to be done, or until a job has a status or phase."""
        for _ in range(ticks):
            if until is not None and job_id is not None:
                shown = self.job(job_id)
                if until in {shown["status"], shown["hardening"]["phase"]}:
                    return
            actions = self.reconciler.tick()
            self.reconciler._background.wait()
            if until is None and actions == 0:
                return
        raise AssertionError(f"not {until}: {self.job(job_id) if job_id else ''}")

    def run_all(self) -> None:
        """Every run that goes on runs to its end."""
        for name, run in list(self.launcher.runs.items()):
            if run.phase is RunPhase.RUNNING:
                order = self.launcher.orders[name]
                self.pods += 1
                code = self.run_job(order.spec_uri, order.spec_sha256, f"pod-{self.pods}")
                self.launcher.exit(name, code)

    def finish(self, job_id: str) -> dict[str, Any]:
        """Let everything happen until a job is over."""
        for _ in range(20):
            self.settle()
            if self.job(job_id)["status"] in {"succeeded", "failed", "cancelled"}:
                self.settle()
                return self.job(job_id)
            self.run_all()
            self.context.clock.time += 400.0  # type: ignore[attr-defined]
        raise AssertionError(f"never over: {self.job(job_id)}")


@pytest.fixture
def world(context: Context, api: TestClient, stand_in: ModuleType) -> Iterator[World]:
    weights = context.store.put("base_models/tiny/model.safetensors", b"weights")
    with context.database.writing() as session:
        session.add(
            BaseModelRow(
                id="tiny",
                status="ready",
                source={"type": "upload"},
                uri=f"{context.store.uri}/base_models/tiny/",
                files=[StoredFile(**weights.model_dump()).model_dump()],
                architecture="decoder",
                parameters=1000,
                created_at=1,
                version=0,
            )
        )
    launcher, backend = FakeLauncher(), FakeBackend()
    # In this process: a child for each file takes a second. The integration tests have the real thing.
    reconciler = Reconciler(context, launcher, backend, validate=validate)
    world = World(context, api, launcher, backend, reconciler, stand_in.run)
    yield world
    world.reconciler.close()
