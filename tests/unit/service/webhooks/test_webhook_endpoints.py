"""Webhooks over HTTP: created, changed, rotated, removed, and shown to their project alone."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.testclient import TestClient

from service.context import Context
from service.webhooks.keys import KEPT_AS
from service.webhooks.keys import master_key


def test_the_openai_client_creates_lists_changes_rotates_and_deletes(hooks: Any) -> None:
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1:8000/v1", http_client=hooks.api)
    made = client.webhooks.create(
        name="gate", url=hooks.receiver.url, event_types=["fine_tuning.job.succeeded"]
    )
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint is not None
    assert made.signing_secret.endswith(made.signing_secret_hint[-4:])
    shown = client.webhooks.retrieve(made.id)
    assert shown.url == hooks.receiver.url
    assert not hasattr(shown, "signing_secret")
    assert [each.id for each in client.webhooks.list()] == [made.id]
    changed = client.webhooks.update(made.id, name="other", event_types=["fine_tuning.job.failed"])
    assert (changed.name, changed.event_types) == ("other", ["fine_tuning.job.failed"])
    rotated = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert rotated.signing_secret != made.signing_secret
    assert "hardening.verdict" in client.webhooks.event_types.list().data
    assert client.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.webhooks.retrieve(made.id)


def test_pages_go_on_where_the_last_one_ended(hooks: Any, error_of: Callable[..., Any]) -> None:
    made = [hooks.create("scan.failed", name=f"n{number}")["id"] for number in range(5)]
    seen: list[str] = []
    after = ""
    while True:
        page = hooks.api.get(f"/v1/webhook_endpoints?limit=2{after}").json()
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert seen == made[::-1]
    assert error_of(hooks.api.get("/v1/webhook_endpoints?after=webhook-none"), 400)["param"] == "after"


def test_a_create_that_is_repeated_makes_one_webhook_and_tells_its_secret_once(hooks: Any) -> None:
    body = {"name": "n", "url": hooks.receiver.url, "event_types": ["scan.failed"]}
    headers = {"Idempotency-Key": "once"}
    first, second = (
        hooks.api.post("/v1/webhook_endpoints", json=body, headers=headers).raise_for_status() for _ in "ab"
    )
    assert first.json()["id"] == second.json()["id"]
    secret = first.json()["signing_secret"]
    assert secret.startswith("whsec_")
    assert secret not in second.text
    assert len(hooks.api.get("/v1/webhook_endpoints").json()["data"]) == 1


BAD: Any = (
    ({"url": "https://elsewhere.example/"}, "url", "not listed in TEMPER_WEBHOOK_HOSTS"),
    ({"url": "http://a.hooks.example.test/"}, "url", "https://"),
    ({"url": "https://169.254.169.254/latest/meta-data"}, "url", "not listed"),
    ({"url": ""}, "url", "at least 1 character"),
    ({"event_types": []}, "event_types", "at least 1 item"),
    ({"event_types": ["batch.completed"]}, "event_types.0", "hardening.verdict"),
    ({"name": ""}, "name", "at least 1 character"),
    ({"secret": "whsec_mine"}, "secret", "no such field"),
    ({"url": 5}, "url", "string"),
)


def test_what_may_not_be_names_the_field_and_changes_nothing(
    hooks: Any, error_of: Callable[..., Any]
) -> None:
    made = hooks.create("scan.failed")["id"]
    before = hooks.show(made)
    for changed, param, said in BAD:
        body = {"name": "n", "url": "https://a.hooks.example.test/", "event_types": ["scan.failed"]} | changed
        error = error_of(hooks.api.post("/v1/webhook_endpoints", json=body), 400)
        assert error["param"] == param
        assert said in error["message"]
        error_of(hooks.api.post(f"/v1/webhook_endpoints/{made}", json=changed), 400)
    assert hooks.show(made) == before
    assert len(hooks.api.get("/v1/webhook_endpoints").json()["data"]) == 1


def test_a_project_has_no_end_of_webhooks_only_of_patience(hooks: Any, error_of: Callable[..., Any]) -> None:
    for _ in range(50):
        hooks.create("scan.failed")
    body = {"name": "n", "url": hooks.receiver.url, "event_types": ["scan.failed"]}
    error = error_of(hooks.api.post("/v1/webhook_endpoints", json=body), 409)
    assert error["code"] == "too_many_webhooks"


def test_one_that_is_missing_is_not_found(hooks: Any, error_of: Callable[..., Any]) -> None:
    path = "/v1/webhook_endpoints/webhook-none"
    answers = (
        hooks.api.get(path),
        hooks.api.post(path, json={"name": "x"}),
        hooks.api.delete(path),
        hooks.api.post(f"{path}/rotate_secret", json={}),
        hooks.api.post(f"{path}/test", json={"event_type": "scan.failed"}),
        hooks.api.get(f"{path}/deliveries"),
        hooks.api.post(f"{path}/deliveries/delivery-none/redeliver"),
    )
    for answer in answers:
        assert error_of(answer, 404)["code"] == "webhook_endpoint_not_found"


def test_the_key_of_a_home_is_made_once_and_readable_by_its_owner_alone(hooks: Any) -> None:
    hooks.create("scan.failed")
    path: Path = hooks.context.settings.home / KEPT_AS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32
    assert master_key(hooks.context.settings) == master_key(hooks.context.settings)
    assert [each.name for each in path.parent.glob(".webhook*")] == []


def test_nothing_that_signs_is_in_the_database(hooks: Any) -> None:
    made = hooks.create("scan.failed")
    with hooks.context.database.reading() as session:
        rows = [
            str(row)
            for table in ("webhooks", "webhook_deliveries")
            for row in session.connection().exec_driver_sql(f"SELECT * FROM {table}")
        ]
    assert made["id"] in "".join(rows)
    assert made["signing_secret"].removeprefix("whsec_") not in "".join(rows)
    assert "signing_secret" not in hooks.show(made["id"])


def test_without_a_listed_host_webhooks_are_off_and_the_error_names_the_setting(
    make_context: Callable[..., Context], error_of: Callable[..., Any]
) -> None:
    from service.app import create_app

    with TestClient(create_app(make_context()), base_url="http://127.0.0.1:8000") as api:
        body = {"name": "n", "url": "https://a.example/", "event_types": ["scan.failed"]}
        error = error_of(api.post("/v1/webhook_endpoints", json=body), 400)
    assert error["code"] == "webhooks_off"
    assert "TEMPER_WEBHOOK_HOSTS" in error["message"]
