"""A service that is killed around the end of a job: its event is delivered all the same, under one id."""

import json
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from waiting import until
from webhook_receiver import Receiver
from webhook_receiver import plain
from webhook_receiver import receiving

pytestmark = pytest.mark.slow
STAND_INS = Path(__file__).parents[1] / "stand_ins"
ROWS = b'{"prompt": "list rows", "completion": "x = 1"}\n' * 20


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path, secure=False) as receiver:
        yield receiver


@pytest.fixture
def service(make_service: Callable[..., Any], receiver: Receiver) -> Any:
    process = make_service(
        TEMPER_WEBHOOK_HOSTS=f"localhost:{receiver.port}",
        TEMPER_WEBHOOK_LOOPBACK_HTTP="1",
        TEMPER_RECONCILE_INTERVAL_S="0.1",
    )
    process.command = (str(STAND_INS / "embedded_service.py"),)
    return process.start()


def create(client: httpx.Client, receiver: Receiver) -> dict[str, Any]:
    body = {
        "name": "gate",
        "url": f"http://localhost:{receiver.port}/hook",
        "event_types": ["scan.cancelled"],
    }
    return dict(client.post("/v1/webhook_endpoints", json=body).raise_for_status().json())


def scan_that_is_cancelled(client: httpx.Client) -> str:
    files = {"file": ("t.jsonl", ROWS)}
    uploaded = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).raise_for_status()
    scan = client.post("/v1/scans", json={"file": uploaded.json()["id"]}).raise_for_status().json()["id"]
    client.post(f"/v1/scans/{scan}/cancel").raise_for_status()
    return str(scan)


@pytest.mark.parametrize("answered", [False, True], ids=["before it is sent", "before the answer is kept"])
def test_no_event_of_an_acknowledged_end_is_lost(service: Any, receiver: Receiver, answered: bool) -> None:
    with service.client() as client:
        webhook = create(client, receiver)
        if answered:
            # It dies at the moment at which the receiver has it and nobody knows.
            receiver.answer = lambda handler: service.kill()
            scan = scan_that_is_cancelled(client)
            until(lambda: receiver.received, seconds=20)
            until(lambda: service.process.poll() is not None, seconds=20)
        else:
            scan = scan_that_is_cancelled(client)
            service.kill()
    receiver.answer = lambda handler: plain(handler, 204)
    service.start()
    with service.client() as client:

        def delivered() -> list[dict[str, Any]]:
            found = client.get(f"/v1/webhook_endpoints/{webhook['id']}/deliveries").json()["data"]
            return [each for each in found if each["status"] == "delivered"]

        [logged] = until(delivered, seconds=30)
    assert logged["event_data"] == {"id": scan}
    assert {each.named["webhook-id"] for each in receiver.received} == {logged["event_id"]}
    assert len({each.body for each in receiver.received}) == 1
    last = receiver.received[-1]
    told = Webhook(webhook["signing_secret"]).verify(last.body, last.named)
    assert told == json.loads(last.body)
    assert told["type"] == "scan.cancelled"
