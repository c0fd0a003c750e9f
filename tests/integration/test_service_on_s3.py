"""The real service, launcher and ``python -m training.scan``, with S3 as their object store."""

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from waiting import until_answered

from deploy.store.opening import open_store

ROWS = b'{"prompt": "list rows", "completion": "x = 1"}\n' * 20
LARGE = b'{"prompt": "list rows", "completion": "x = 1"}\n' * 400_000
"""19 MB, several parts of a multipart upload."""
SERVERS = ["s3_server", pytest.param("ceph_bucket", marks=[pytest.mark.s3, pytest.mark.slow])]
wait_for = partial(until_answered, seconds=120.0)


@pytest.fixture
def uri(request: pytest.FixtureRequest) -> str:
    return f"s3://{request.getfixturevalue(request.param).bucket}/temper"


@pytest.fixture
def service(uri: str, make_service: Callable[..., Any]) -> Any:
    return make_service(
        TEMPER_STORE_URI=uri,
        TEMPER_RECONCILE_INTERVAL_S="0.1",
        TEMPER_S3_READ_TIMEOUT_S="1",
        AWS_MAX_ATTEMPTS="2",
    ).start()


def _upload(client: httpx.Client, rows: bytes) -> str:
    answer = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", rows)})
    return str(answer.raise_for_status().json()["id"])


@pytest.mark.parametrize("uri", SERVERS, indirect=True)
def test_a_file_and_a_scan_by_way_of_s3(service: Any, uri: str) -> None:
    with service.client() as client:
        file = _upload(client, LARGE)
        assert client.get(f"/v1/files/{file}/content").raise_for_status().content == LARGE
        order = {"file": _upload(client, ROWS), "probes": []}
        scan = client.post("/v1/scans", json=order).raise_for_status().json()["id"]

        def ended() -> Any:
            shown = client.get(f"/v1/scans/{scan}").raise_for_status().json()
            return shown if shown["status"] in {"succeeded", "failed", "cancelled"} else None

        assert wait_for(ended)["status"] == "succeeded", service.log
        keys = [info.key for info in open_store(uri).list("")]
        assert f"scans/{scan}/result.json" in keys
        assert not [key for key in keys if key.startswith("probes/")]
        client.delete(f"/v1/files/{file}").raise_for_status()
        assert f"files/{file}" not in [info.key for info in open_store(uri).list("files/")]


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.parametrize("uri", SERVERS[1:], indirect=True)
def test_a_gateway_that_hangs_for_a_while_is_an_outage_and_no_more(
    service: Any, ceph_server: Any, uri: str
) -> None:
    """Signals to the gateway alone, as when its machine is overloaded: connections open, answers do not come."""
    gateway = ceph_server.processes[-1]
    with service.client() as client:
        kept = _upload(client, ROWS)
        gateway.send_signal(signal.SIGSTOP)
        try:
            ready = client.get("/readyz")
            refused = client.post(
                "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", ROWS)}
            )
        finally:
            gateway.send_signal(signal.SIGCONT)
        assert (ready.status_code, ready.json()["checks"]["store"]) == (503, "unreachable")
        assert refused.status_code == 503
        wait_for(lambda: client.get("/readyz").status_code == 200)
        assert client.get(f"/v1/files/{kept}/content").raise_for_status().content == ROWS
        assert client.get("/v1/files").raise_for_status().json()["data"][0]["id"] == kept
        _upload(client, ROWS)
