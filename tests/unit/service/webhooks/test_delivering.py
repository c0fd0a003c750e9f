"""Deliveries on every database: each event once, and again after a crash."""

import threading
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from standardwebhooks import Webhook

from service.webhooks import fleet
from service.webhooks.events import events_of_end
from service.webhooks.outbox import announce
from service.webhooks.rows import DeliveryRow


def test_an_event_is_delivered_signed_once_and_logged(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    hooks.end()
    assert hooks.deliver() == 1
    [received] = hooks.receiver.received
    told = Webhook(made["signing_secret"]).verify(received.body, received.named)
    assert told["type"] == "hardening.verdict"
    assert told["data"]["verdict"] == "pass"
    assert told["id"] == received.named["webhook-id"]
    assert set(received.named) == {
        "host", "content-length", "content-type", "connection", "user-agent",
        "webhook-id", "webhook-timestamp", "webhook-signature",
    }  # fmt: skip
    [logged] = hooks.log(made["id"])
    assert (logged["status"], logged["event_id"], logged["next_attempt_at"]) == (
        "delivered",
        told["id"],
        None,
    )
    [attempt] = logged["attempts"]
    assert (attempt["status"], attempt["error"]) == (204, None)
    assert hooks.deliver() == 0
    assert hooks.metric("temper_webhook_deliveries_total", outcome="delivered") == 1


def test_a_webhook_is_removed_with_its_log_while_a_delivery_goes_on(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    hang = hooks.begin_to_deliver(410)
    hooks.api.delete(f"/v1/webhook_endpoints/{made['id']}").raise_for_status()
    hang.set()
    hooks.deliverer.settle()
    assert hooks.deliver() == 0
    assert hooks.api.get("/v1/webhook_endpoints").json()["data"] == []


def test_no_webhook_takes_more_than_two_places(hooks: Any) -> None:
    hooks.create("hardening.verdict")
    for number in range(7):
        hooks.end(f"ftjob-{number}")
    assert hooks.deliverer.step() == 2
    hooks.deliverer.settle()
    assert hooks.deliver() == 5


def test_a_deliverer_that_dies_after_sending_sends_again_the_same(
    hooks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hooks.create("hardening.verdict")
    hooks.end()

    def dies(*_: object, **__: object) -> bool:
        raise OperationalError("UPDATE", {}, ConnectionError())

    with monkeypatch.context() as patched:
        patched.setattr(fleet, "record", dies)
        hooks.deliverer.step()
        hooks.deliverer.settle()
        with pytest.raises(OperationalError):
            hooks.deliverer.step()
    assert hooks.log(made["id"])[0]["status"] == "pending"
    assert hooks.deliver() == 0, "this process waits a minute with it"
    hooks.deliverer._held.clear()  # as a new leader begins
    assert hooks.deliver() == 1
    first, second = hooks.receiver.received
    assert first.named["webhook-id"] == second.named["webhook-id"]
    assert first.body == second.body


def test_what_is_announced_twice_is_delivered_once(hooks: Any) -> None:
    hooks.create("hardening.verdict")
    hooks.end()
    hooks.end()
    assert hooks.deliver() == 1


def test_a_webhook_that_is_removed_while_something_ends_stands_in_nobodys_way(hooks: Any) -> None:
    webhook = hooks.create("hardening.verdict")["id"]
    answers: list[int] = []

    def remove() -> None:
        answers.append(hooks.api.delete(f"/v1/webhook_endpoints/{webhook}").status_code)

    removing = threading.Thread(target=remove)
    values = {"status": "failed", "finished_at": int(hooks.context.clock.now())}
    with hooks.context.database.writing() as session:
        assert announce(session, "default", events_of_end("ftjob-1", values)) == 1
        session.flush()
        removing.start()
        removing.join(0.3)
        assert answers == [], "it waits for the end, which needs the webhook's row"
    removing.join()
    assert answers == [200]
    with hooks.context.database.reading() as session:
        assert session.scalars(select(DeliveryRow.id)).all() == []
