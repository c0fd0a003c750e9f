"""temper webhooks, against a service in this process."""

import json
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from webhook_receiver import plain

from service.client import webhooks
from service.client.connection import Answer
from service.client.connection import Connection


@pytest.fixture
def temper(hooks: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def ask(
        _connection: Connection, method: str, path: str, body: Any = None, _headers: Any = None
    ) -> Answer:
        headers = {"content-type": "application/json"} if body is not None else {}
        answer = hooks.api.request(method, path, content=body, headers=headers)
        return Answer(status=answer.status_code, body=answer.content)

    monkeypatch.setattr(Connection, "_ask", ask)
    return lambda *arguments: webhooks.main(arguments)


@pytest.fixture
def delivering(hooks: Any) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=hooks.deliverer.run, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join()


def made(hooks: Any, temper: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert temper("create", "gate", hooks.receiver.url, "--json") == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_webhook_is_made_for_the_verdict_and_listed_without_its_secret(
    hooks: Any, temper: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    created = made(hooks, temper, capsys)
    assert created["event_types"] == ["hardening.verdict"]
    assert created["signing_secret"].startswith("whsec_")
    assert temper("list") == 0
    listed = capsys.readouterr().out
    assert created["id"] in listed
    assert created["signing_secret"] not in listed


@pytest.mark.usefixtures("delivering")
def test_a_test_ends_with_what_the_receiver_thinks(
    hooks: Any, temper: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    webhook = made(hooks, temper, capsys)["id"]
    assert temper("test", webhook) == 0
    hooks.receiver.answer = lambda handler: plain(handler, 500)
    assert temper("test", webhook, "--event", "scan.failed") == webhooks.NOT_DELIVERED
    assert "answered 500" in capsys.readouterr().err
    hooks.receiver.answer = lambda handler: handler.connection.close()
    assert temper("test", webhook) == webhooks.NOT_DELIVERED
    assert "Not delivered" in capsys.readouterr().err
    assert temper("deliveries", webhook) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "scan.failed" in lines[2]
    assert " 500 " in lines[2]
    assert temper("deliveries", webhook, "--limit", "1", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_what_cannot_be_ends_with_a_status_of_its_own(
    hooks: Any, temper: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert temper("create", "gate", "https://elsewhere.example/") == 64
    assert "TEMPER_WEBHOOK_HOSTS" in capsys.readouterr().err
    assert temper("deliveries", "webhook-none") == 66
    assert temper("test", "webhook-none") == 66
    with pytest.raises(SystemExit):
        temper("create", "gate", hooks.receiver.url, "--event", "batch.completed")
