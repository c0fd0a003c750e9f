"""Deliveries to a real HTTPS receiver: made at least once, tried again, given up, and written down."""

import json
import threading
import time
from typing import Any

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook
from standardwebhooks import WebhookVerificationError
from webhook_receiver import plain

from service.webhooks.deliverer import KEPT_S
from service.webhooks.events import events_of_end
from service.webhooks.outbox import announce
from service.webhooks.rows import DeliveryRow
from service.webhooks.schedule import WAITS_S


def test_a_failed_delivery_comes_again_under_the_same_id_with_a_new_time_and_signature(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    hooks.receiver.answer = lambda handler: plain(handler, 500, b"\x1b[2Jno \xe2\x80\xae<b>" + b"x" * 5000)
    hooks.end()
    hooks.deliver()
    [logged] = hooks.log(made["id"])
    assert logged["status"] == "pending"
    assert logged["attempts"][0]["answer"].startswith("\\u{1b}[2Jno \\u{202e}<b>")
    assert len(logged["attempts"][0]["answer"]) < 1100
    assert hooks.deliver() == 0, "not before its time"
    hooks.later(6.1)
    hooks.receiver.answer = lambda handler: plain(handler, 200)
    assert hooks.deliver() == 1
    first, second = hooks.receiver.received
    assert first.named["webhook-id"] == second.named["webhook-id"]
    assert first.body == second.body
    assert first.named["webhook-timestamp"] < second.named["webhook-timestamp"]
    Webhook(made["signing_secret"]).verify(second.body, second.named)
    assert hooks.log(made["id"])[0]["status"] == "delivered"


def test_after_the_last_try_the_webhook_is_disabled_and_the_log_says_so(
    hooks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = hooks.create("hardening.verdict")
    hooks.receiver.answer = lambda handler: plain(handler, 503)
    hooks.end()
    hooks.deliver()
    for wait in WAITS_S:
        assert hooks.show(made["id"])["enabled"]
        hooks.later(wait - 1)
        assert hooks.deliver() == 0
        hooks.later(wait * 0.2 + 2)
        assert hooks.deliver() == 1
    [logged] = hooks.log(made["id"])
    assert (logged["status"], len(logged["attempts"])) == ("failed", 8)
    shown = hooks.show(made["id"])
    assert not shown["enabled"]
    assert "not delivered in 8 tries" in shown["disabled_reason"]
    assert f"webhook {made['id']} is disabled" in caplog.text
    hooks.end("ftjob-2")
    assert len(hooks.log(made["id"])) == 1, "nothing more is left for it"
    hooks.receiver.answer = lambda handler: plain(handler, 200)
    hooks.api.post(f"/v1/webhook_endpoints/{made['id']}", json={"enabled": True}).raise_for_status()
    assert hooks.show(made["id"])["disabled_reason"] is None
    path = f"/v1/webhook_endpoints/{made['id']}/deliveries/{logged['id']}/redeliver"
    assert hooks.api.post(path).json()["status"] == "pending"
    assert hooks.deliver() == 1
    assert len({each.named["webhook-id"] for each in hooks.receiver.received}) == 1


def test_gone_disables_at_once_and_what_waits_is_delivered_when_it_is_enabled_again(hooks: Any) -> None:
    made = hooks.create("hardening.verdict", "fine_tuning.job.succeeded")
    hooks.receiver.answer = lambda handler: plain(handler, 500)
    hooks.end()
    hooks.deliver()
    hooks.receiver.answer = lambda handler: plain(handler, 410)
    hooks.end("ftjob-2")
    hooks.deliver()
    shown = hooks.show(made["id"])
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "Its receiver answered 410 Gone.")
    hooks.later(3600)
    assert hooks.deliver() == 0
    assert hooks.metric("temper_webhooks_disabled_total") == 1
    hooks.receiver.answer = lambda handler: plain(handler, 200)
    hooks.api.post(f"/v1/webhook_endpoints/{made['id']}", json={"enabled": True}).raise_for_status()
    assert hooks.deliver() == 2


@pytest.mark.parametrize(
    ("status", "asked", "waits"), [(429, "120", 120), (503, "7200", 7200), (503, "1", 5)]
)
def test_a_receiver_that_asks_for_time_gets_it(hooks: Any, status: int, asked: str, waits: int) -> None:
    made = hooks.create("hardening.verdict")
    hooks.receiver.answer = lambda handler: plain(handler, status, Retry_After=asked)
    hooks.end()
    now = hooks.context.clock.now()
    hooks.deliver()
    at = hooks.log(made["id"])[0]["next_attempt_at"]
    assert waits <= at - now <= waits * 1.2


def test_a_redirect_is_a_failure_and_leads_nowhere(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    hooks.receiver.answer = lambda handler: plain(handler, 307, Location=hooks.receiver.url)
    hooks.end()
    hooks.deliver()
    assert len(hooks.receiver.received) == 1
    assert hooks.log(made["id"])[0]["attempts"][0]["status"] == 307


def test_a_host_that_is_listed_no_more_is_sent_nothing(hooks: Any) -> None:
    made = hooks.create("hardening.verdict", url="https://a.hooks.example.test/")
    object.__setattr__(hooks.context.settings.webhooks, "hosts", hooks.context.settings.webhooks.hosts[:1])
    hooks.end()
    hooks.deliver()
    [attempt] = hooks.log(made["id"])[0]["attempts"]
    assert "Not sent: a.hooks.example.test is not listed" in attempt["error"]
    assert hooks.receiver.received == []
    assert hooks.metric("temper_webhook_deliveries_total", outcome="refused") == 1


def test_both_secrets_sign_for_a_day_after_a_rotation_and_the_new_one_alone_afterwards(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    path = f"/v1/webhook_endpoints/{made['id']}/rotate_secret"
    rotated = hooks.api.post(path, json={"keep_old_secret_active_for_24_hours": True}).json()
    hooks.end()
    hooks.deliver()
    received = hooks.receiver.received[-1]
    for secret in (made["signing_secret"], rotated["signing_secret"]):
        Webhook(secret).verify(received.body, received.named)
    hooks.later(24 * 3600)
    hooks.end("ftjob-2")
    hooks.deliver()
    assert " " not in hooks.receiver.received[-1].named["webhook-signature"]


def test_a_rotation_at_once_leaves_the_old_secret_nothing(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    rotated = hooks.api.post(f"/v1/webhook_endpoints/{made['id']}/rotate_secret", json={}).json()
    hooks.end()
    hooks.deliver()
    received = hooks.receiver.received[-1]
    Webhook(rotated["signing_secret"]).verify(received.body, received.named)
    with pytest.raises(WebhookVerificationError):
        Webhook(made["signing_secret"]).verify(received.body, received.named)


def test_only_what_was_asked_for_is_told_and_only_to_ones_own_project(hooks: Any) -> None:
    verdicts, ends = hooks.create("hardening.verdict"), hooks.create("fine_tuning.job.succeeded")
    hooks.end(project="another")
    hooks.end()
    assert hooks.deliver() == 2
    assert [each["event_type"] for each in hooks.log(verdicts["id"])] == ["hardening.verdict"]
    assert [each["event_type"] for each in hooks.log(ends["id"])] == ["fine_tuning.job.succeeded"]


def test_a_crash_before_the_commit_leaves_nothing_to_deliver(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    values = {"status": "failed", "finished_at": int(hooks.context.clock.now())}

    def killed() -> None:
        with hooks.context.database.writing() as session:
            assert announce(session, "default", events_of_end("ftjob-1", values)) == 1
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        killed()
    assert hooks.log(made["id"]) == []


def test_a_receiver_that_hangs_keeps_no_other_project_waiting(hooks: Any) -> None:
    hang = threading.Event()

    def answer(handler: Any) -> None:
        if "ftjob-slow" in hooks.receiver.received[-1].body.decode():
            hang.wait(5.0)
        plain(handler, 204)

    hooks.receiver.answer = answer
    for number in range(6):
        hooks.create("hardening.verdict", name=f"slow{number}")
    for number in range(3):
        hooks.end(f"ftjob-slow{number}")
    began = hooks.deliverer.step()
    assert began == 4, "of eighteen, for they are one project's"
    assert hooks.deliverer.step() == 0
    with hooks.context.database.writing() as session:
        of_another = session.scalars(select(DeliveryRow).where(DeliveryRow.status == "pending")).all()[-2:]
        for row in of_another:
            row.project = "another"
            row.data = row.data | {"id": "ftjob-fast", "job": "ftjob-fast", "report_url": None}
    began = hooks.deliverer.step()
    assert began >= 1, "there are places left for another"
    hang.set()
    hooks.deliverer.settle()


def test_the_backlog_is_measured(hooks: Any) -> None:
    hooks.create("hardening.verdict")
    hooks.end()
    hooks.later(90)
    hooks.deliverer._measure()
    assert hooks.metric("temper_webhook_backlog") == 1
    assert hooks.metric("temper_webhook_backlog_age_seconds") == 90
    hooks.deliver()
    hooks.deliverer._measured_at = float("-inf")
    hooks.deliverer._measure()
    assert hooks.metric("temper_webhook_backlog_age_seconds") == 0


def test_the_log_is_kept_for_thirty_days_and_what_waits_for_ever(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    hooks.end()
    hooks.deliver()
    hooks.receiver.answer = lambda handler: plain(handler, 500)
    hooks.end("ftjob-2")
    hooks.deliver()
    hooks.later(KEPT_S + 1)
    hooks.deliverer._forgot_at = float("-inf")
    hooks.deliverer._forget()
    assert [each["event_data"]["job"] for each in hooks.log(made["id"])] == ["ftjob-2"]


def test_a_redelivery_asked_for_while_one_goes_on_is_made_too(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    hang = hooks.begin_to_deliver(204)
    [logged] = hooks.log(made["id"])
    hooks.api.post(
        f"/v1/webhook_endpoints/{made['id']}/deliveries/{logged['id']}/redeliver"
    ).raise_for_status()
    hang.set()
    hooks.deliverer.settle()
    assert hooks.deliver() == 1
    assert len(hooks.receiver.received) == 2
    assert hooks.log(made["id"])[0]["status"] == "delivered"


def test_a_webhook_is_tried_once_even_when_disabled_and_the_answer_is_told(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    hooks.api.post(f"/v1/webhook_endpoints/{made['id']}", json={"enabled": False}).raise_for_status()
    hooks.receiver.answer = lambda handler: plain(handler, 418)
    stop = threading.Event()
    delivering = threading.Thread(target=hooks.deliverer.run, args=(stop,))
    delivering.start()
    try:
        path = f"/v1/webhook_endpoints/{made['id']}/test"
        answer = hooks.api.post(path, json={"event_type": "hardening.verdict"})
    finally:
        stop.set()
        delivering.join()
    assert answer.json() == {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": made["id"],
        "event_type": "hardening.verdict",
        "status_code": 418,
        "success": True,
    }
    [logged] = hooks.log(made["id"])
    assert (logged["test"], logged["status"], len(logged["attempts"])) == (True, "failed", 1)
    assert json.loads(hooks.receiver.received[0].body)["type"] == "hardening.verdict"


def test_a_test_that_finds_nobody_says_why(hooks: Any, error_of: Any) -> None:
    made = hooks.create("hardening.verdict")
    hooks.receiver.answer = lambda handler: handler.connection.close()
    stop = threading.Event()
    delivering = threading.Thread(target=hooks.deliverer.run, args=(stop,))
    delivering.start()
    try:
        answer = hooks.api.post(
            f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "scan.failed"}
        )
    finally:
        stop.set()
        delivering.join()
    error = error_of(answer, 502)
    assert error["code"] == "webhook_not_delivered"
    assert answer.headers["x-should-retry"] == "false"


def test_a_stopped_deliverer_finishes_what_it_began(hooks: Any) -> None:
    made = hooks.create("hardening.verdict")
    hooks.end()
    arrived, stop = threading.Event(), threading.Event()

    def answer(handler: Any) -> None:
        arrived.set()
        time.sleep(0.2)
        plain(handler, 204)

    hooks.receiver.answer = answer
    delivering = threading.Thread(target=hooks.deliverer.run, args=(stop,))
    delivering.start()
    assert arrived.wait(5.0)
    stop.set()
    delivering.join()
    assert hooks.log(made["id"])[0]["status"] == "delivered"
