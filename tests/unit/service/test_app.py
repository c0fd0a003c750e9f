"""The app as a whole: unknown routes, accidents, health, metrics, imports."""

import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from deploy.store.protocol import StoreRefused
from deploy.store.protocol import StoreUnavailable
from service.app import create_app
from service.context import Context

ErrorOf = Callable[[httpx.Response, int], dict[str, Any]]
FORBIDDEN = ("torch", "transformers", "vllm", "training", "numpy.random")


def test_m2_the_service_loads_no_torch() -> None:
    code = f"import sys, service.app; print([name for name in {FORBIDDEN} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/files/", "/v1/nothing", "/docs", "/redoc", "/v1/fil%65s/a/b/c"]
)
def test_an_unknown_route_is_a_problem(api: TestClient, error_of: ErrorOf, path: str) -> None:
    assert error_of(api.get(path), 404)["code"] in {"unknown_route", "file_not_found"}


def test_an_unknown_method_is_a_problem(api: TestClient, error_of: ErrorOf) -> None:
    response = api.patch("/v1/files")
    assert error_of(response, 405)["code"] == "method_not_allowed"
    assert "GET" in response.headers["allow"] or "POST" in response.headers["allow"]


def test_an_accident_gives_an_incident_and_no_detail(
    api: TestClient, error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("SELECT secret")

    monkeypatch.setattr("service.files.repository.FileRepository.page", broken)
    response = api.get("/v1/files")
    error = error_of(response, 500)
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    incident = response.json()["instance"].removeprefix("urn:temper:incident:")
    assert incident in error["message"]
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert any(getattr(record, "incident", None) == incident for record in caplog.records)


def test_a_database_that_is_away_may_be_tried_again(
    api: TestClient, context: Context, error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("SELECT secret", {}, Exception("locked"))

    monkeypatch.setattr("service.files.repository.FileRepository.page", away)
    monkeypatch.setattr(context.database, "ping", away)
    response = api.get("/v1/files")
    assert error_of(response, 503)["code"] == "database_unavailable"
    assert response.headers["retry-after"] == "1"
    assert "secret" not in response.text
    assert api.get("/readyz").json()["checks"]["database"] == "unreachable"


def test_every_answer_has_its_own_request_id(api: TestClient) -> None:
    headers = {"x-request-id": "mine"}
    ids = {api.get("/healthz", headers=headers).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert "mine" not in ids


def test_ready_means_that_everything_answers(
    api: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.get("/readyz").json() == {"status": "ready", "checks": {"database": "ok", "store": "ok"}}

    def away(*_: object) -> None:
        raise StoreUnavailable("timed out")

    monkeypatch.setattr(type(context.store), "info", away)
    response = api.get("/readyz")
    assert (response.status_code, response.json()["checks"]["store"]) == (503, "unreachable")
    assert api.get("/healthz").status_code == 200


def test_readiness_says_in_a_word_why_the_store_refuses(
    api: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise StoreRefused("clock_skewed", "s3://secret-bucket: the clocks differ")

    monkeypatch.setattr(type(context.store), "info", refuses)
    response = api.get("/readyz")
    assert (response.status_code, response.json()["checks"]["store"]) == (503, "clock_skewed")
    assert "secret-bucket" not in response.text


def test_a_store_that_refuses_is_told_apart_from_one_that_is_away(
    api: TestClient, context: Context, error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise StoreRefused("not_permitted", "s3://secret-bucket: s3:PutObject")

    monkeypatch.setattr(type(context.store), "put", refuses)
    files = {"file": ("t.jsonl", b'{"prompt": "a", "completion": "b"}\n')}
    response = api.post("/v1/files", data={"purpose": "fine-tune"}, files=files)
    error = error_of(response, 503)
    assert error["code"] == "store_refused"
    assert "not_permitted" in error["message"]
    assert "secret-bucket" not in response.text


def test_ready_means_that_the_reconciler_beats(api: TestClient, context: Context) -> None:
    heartbeat = context.heartbeats.register("reconciler", max_age_s=0.0)
    heartbeat.beat()
    response = api.get("/readyz")
    assert (response.status_code, response.json()["checks"]["reconciler"]) == (503, "silent")
    heartbeat.max_age_s = 60.0
    assert api.get("/readyz").status_code == 200


def test_metrics_name_routes_and_never_ids(api: TestClient) -> None:
    api.get("/v1/files/file-secret-id")
    api.get("/no/such/route-with-id")
    text = api.get("/metrics").text
    samples = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "temper_http_requests_total"
    }
    assert samples["GET", "/v1/files/{file_id}", "404"] == 1
    assert samples["GET", "unmatched", "404"] == 1
    assert "secret-id" not in text
    assert "with-id" not in text
    assert all(family.name.startswith("temper_") for family in text_string_to_metric_families(text))


def test_companions_live_as_long_as_the_app(context: Context) -> None:
    seen = []

    @contextmanager
    def companion(of: Context) -> Iterator[None]:
        assert of is context
        seen.append("entered")
        yield
        seen.append("left")

    with TestClient(create_app(context, companions=[companion])):
        assert seen == ["entered"]
    assert seen == ["entered", "left"]
    assert context.stopping.is_set()
