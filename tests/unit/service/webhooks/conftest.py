"""A service that may tell a receiver on loopback, and whoever delivers for it."""

import ipaddress
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from job_world import stand_in
from job_world import world
from starlette.testclient import TestClient
from webhook_receiver import NAME
from webhook_receiver import Receiver
from webhook_receiver import plain
from webhook_receiver import receiving

from service.context import Context
from service.settings import Settings
from service.settings import settings_from_env
from service.webhooks.deliverer import Deliverer
from service.webhooks.events import events_of_end
from service.webhooks.outbox import announce
from service.webhooks.sending import Sender

__all__ = ["stand_in", "world"]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as receiver:
        yield receiver


@pytest.fixture
def settings(tmp_path: Path, database_url: str, receiver: Receiver) -> Settings:
    env = {
        "TEMPER_HOME": str(tmp_path / "home"),
        "TEMPER_DATABASE_URL": database_url,
        "TEMPER_WEBHOOK_HOSTS": f"{NAME}:{receiver.port}, *.hooks.example.test",
        "TEMPER_WEBHOOK_NETWORKS": "127.0.0.0/8",
    }
    return settings_from_env(env)


@dataclass(kw_only=True)
class Hooks:
    """Everything around webhooks."""

    context: Context
    api: TestClient
    receiver: Receiver
    deliverer: Deliverer

    def create(self, *event_types: str, **more: Any) -> dict[str, Any]:
        body = {"name": "gate", "url": self.receiver.url, "event_types": list(event_types), **more}
        answer = self.api.post("/v1/webhook_endpoints", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def show(self, webhook: str) -> dict[str, Any]:
        return dict(self.api.get(f"/v1/webhook_endpoints/{webhook}").raise_for_status().json())

    def log(self, webhook: str) -> list[dict[str, Any]]:
        answer = self.api.get(f"/v1/webhook_endpoints/{webhook}/deliveries?limit=100")
        return list(answer.raise_for_status().json()["data"])

    def deliver(self) -> int:
        """Everything that is due now."""
        count = 0
        while begun := self.deliverer.step():
            count += begun
            self.deliverer.settle()
        return count

    def begin_to_deliver(self, status: int) -> threading.Event:
        """A job ends, and the receiver has its event but answers only once what is returned is set."""
        arrived, hang = threading.Event(), threading.Event()

        def answer(handler: Any) -> None:
            arrived.set()
            hang.wait(5.0)
            plain(handler, status)

        self.receiver.answer = answer
        self.end()
        self.deliverer.step()
        assert arrived.wait(5.0)
        return hang

    def end(self, job: str = "ftjob-1", *, project: str = "default") -> None:
        """A job of a project succeeds."""
        now = int(self.context.clock.now())
        values = {"status": "succeeded", "finished_at": now, "outcome": {"verdict": "pass"}}
        with self.context.database.writing() as session:
            announce(session, project, events_of_end(job, values))

    def metric(self, name: str, **labels: str) -> float:
        return self.context.metrics.registry.get_sample_value(name, labels) or 0.0

    def later(self, seconds: float) -> None:
        self.context.clock.time += seconds  # type: ignore[attr-defined]


@pytest.fixture
def hooks(context: Context, api: TestClient, receiver: Receiver) -> Iterator[Hooks]:
    # Receivers compare with their own clock.
    context.clock.time = float(int(time.time()))  # type: ignore[attr-defined]
    deliverer = deliverer_for(context, receiver)
    yield Hooks(context=context, api=api, receiver=receiver, deliverer=deliverer)
    deliverer.close()


def deliverer_for(context: Context, receiver: Receiver) -> Deliverer:
    sender = Sender(
        networks=[ipaddress.ip_network("127.0.0.0/8")],
        tls=receiver.tls,
        resolve=lambda _host, _port: ["127.0.0.1"],
        timeout_s=5.0,
    )
    return Deliverer(context, sender=sender, chance=random.Random(5))
