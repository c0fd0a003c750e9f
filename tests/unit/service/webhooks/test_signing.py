"""Signatures that the published libraries accept."""

import time

import openai
import pytest
from standardwebhooks import Webhook
from standardwebhooks import WebhookVerificationError

from service.webhooks.events import EVENT_TYPES
from service.webhooks.events import events_of_end
from service.webhooks.events import sample
from service.webhooks.signing import MasterKey
from service.webhooks.signing import signed_headers

KEY = MasterKey(b"k" * 32)
ENDED = {
    "status": "succeeded",
    "finished_at": 1_800_000_000,
    "outcome": {"verdict": "pass"},
    "fine_tuned_model": "ft:x",
}
EVENT = events_of_end("ftjob-1", ENDED)[0]
BODY = EVENT.body(None)


def headers_by(*versions: int) -> dict[str, str]:
    secrets = [KEY.secret("webhook-1", version) for version in versions]
    return signed_headers(secrets, EVENT.id, int(time.time()), BODY)


def test_the_library_of_standard_webhooks_verifies() -> None:
    told = Webhook(KEY.secret("webhook-1", 1).text).verify(BODY, headers_by(1))
    assert told["type"] == "fine_tuning.job.succeeded"
    assert told["data"] == {"id": "ftjob-1"}


def test_the_openai_client_unwraps() -> None:
    client = openai.OpenAI(api_key="none", webhook_secret=KEY.secret("webhook-1", 1).text)
    event = client.webhooks.unwrap(BODY, headers_by(1))
    assert event.type == "fine_tuning.job.succeeded"
    assert event.data.id == "ftjob-1"
    assert event.id == EVENT.id


def test_while_a_secret_is_replaced_the_old_and_the_new_one_both_verify() -> None:
    headers = headers_by(2, 1)
    for version in (1, 2):
        Webhook(KEY.secret("webhook-1", version).text).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(KEY.secret("webhook-1", 3).text).verify(BODY, headers)


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp"])
def test_whatever_is_changed_on_the_way_is_noticed(changed: str) -> None:
    headers, body = headers_by(1), BODY
    if changed == "body":
        body = body.replace(b"succeeded", b"SUCCEEDED")
    elif changed == "webhook-id":
        headers[changed] = "event-2"
    else:
        headers[changed] = str(int(headers[changed]) - 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(KEY.secret("webhook-1", 1).text).verify(body, headers)


def test_every_webhook_version_and_key_has_another_secret() -> None:
    secrets = {
        key.secret(endpoint, version).text
        for key in (KEY, MasterKey(b"l" * 32))
        for endpoint in ("webhook-1", "webhook-11", "webhook-2")
        for version in (1, 11, 2)
    }
    assert len(secrets) == 18


def test_no_secret_is_in_a_representation() -> None:
    secret = KEY.secret("webhook-1", 1)
    assert "k" * 8 not in repr(KEY)
    assert repr(secret) == "Secret()"
    assert secret.text not in secret.hint


def test_a_verdict_is_told_whatever_the_end() -> None:
    for status, verdict in (("succeeded", "pass"), ("failed", None), ("cancelled", None)):
        values = ENDED if status == "succeeded" else {"status": status, "finished_at": 1_800_000_000}
        _, told = events_of_end("ftjob-1", values)
        assert told.type == "hardening.verdict"
        assert told.data["verdict"] == verdict
        assert told.data["job"] == "ftjob-1"


def test_the_report_has_a_whole_url_where_the_service_knows_its_own() -> None:
    _, verdict = events_of_end("ftjob-1", ENDED)
    assert b'"report_url":"/v1/reports/ftjob-1"' in verdict.body(None)
    assert b'"report_url":"https://t.example/v1/reports/ftjob-1"' in verdict.body("https://t.example")


def test_what_is_told_again_has_the_same_id() -> None:
    assert [event.id for event in events_of_end("ftjob-1", ENDED)] == [
        event.id for event in events_of_end("ftjob-1", ENDED)
    ]
    ids = {event.id for work in ("ftjob-1", "ftjob-2") for event in events_of_end(work, ENDED)}
    assert len(ids) == 4


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_there_is_a_sample_of_every_type(event_type: str) -> None:
    event = sample(event_type, "event-test", at=1_800_000_000)
    assert event.type == event_type
    assert event.data["id"]
