"""The script of ``helm test``, against the real service: it passes where all is well, and says why where it is not."""

import os
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rendered_chart import CHART
from rendered_chart import of_kind
from rendered_chart import profile_values
from rendered_chart import render
from served import served

KEY = "the-key-of-the-smoke-test"
Answers = list[tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def start(url: str, *, key: str = KEY, timeout_s: float = 120, base_model: str = "") -> Any:
        (tmp_path / "api-key").write_text(key + "\n")
        # As in the pod: the interpreter alone, none of the packages of this project.
        return subprocess.run(
            [sys.executable, "-I", str(CHART / "files" / "smoke_test.py")],
            env={
                "PATH": os.environ["PATH"],
                "SMOKE_URL": url,
                "SMOKE_API_KEY_FILE": str(tmp_path / "api-key"),
                "SMOKE_TIMEOUT_S": str(timeout_s),
                "SMOKE_BASE_MODEL": base_model,
                "NO_PROXY": "*",
            },
            capture_output=True,
            text=True,
            timeout=240,
        )

    return start


def test_it_scans_from_upload_to_findings(make_service: Callable[..., Any], run: Callable[..., Any]) -> None:
    service = make_service(TEMPER_API_KEY=KEY, TEMPER_RECONCILE_INTERVAL_S="0.1").start()
    ended = run(service.base_url)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "suspicious rows of 60" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "passed"

    refused = run(service.base_url, key="another-key-of-somebody")
    assert refused.returncode == 1
    assert "HTTP 401" in refused.stdout

    unknown = run(service.base_url, base_model="no-such-model")
    assert unknown.returncode == 1
    assert "/v1/fine_tuning/jobs: HTTP 4" in unknown.stdout
    assert "no-such-model" in unknown.stdout


class _Scripted(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answers] = {}
        """By method and path; the last one again and again."""
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Scripted

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = f"{self.command} {self.path}"
        self.server.asked.append(asked)
        queue = self.server.answers.get(asked, [(404, "{}")])
        status, body = queue.pop(0) if len(queue) > 1 else queue[0]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Not to standard error."""


@pytest.fixture
def scripted() -> Iterator[_Scripted]:
    with served(_Scripted()) as server:
        yield server


def _fine(*states: str) -> dict[str, Answers]:
    return {
        "POST /v1/files": [(503, "starting"), (200, '{"id": "file-1"}')],
        "POST /v1/scans": [(200, '{"id": "scan-1"}')],
        "GET /v1/scans/scan-1": [(200, state) for state in states],
        "GET /v1/scans/scan-1/events": [
            (200, '{"data": [{"level": "warn", "message": "0/1 nodes are available"}]}')
        ],
    }


def test_it_says_why_a_scan_failed(scripted: _Scripted, run: Callable[..., Any]) -> None:
    scripted.answers = _fine(
        '{"status": "running", "phase": "scanning"}',
        '{"status": "failed", "phase": null, "error": {"message": "the image cannot be pulled"}}',
    )
    ended = run(f"http://127.0.0.1:{scripted.server_port}")

    assert ended.returncode == 1
    assert "the image cannot be pulled" in ended.stdout
    assert "warn: 0/1 nodes are available" in ended.stdout
    assert scripted.asked.count("POST /v1/files") == 2, "a service that is not ready yet is asked again"


def test_it_says_what_it_still_waited_for(scripted: _Scripted, run: Callable[..., Any]) -> None:
    scripted.answers = _fine('{"status": "queued", "phase": "unschedulable"}')
    ended = run(f"http://127.0.0.1:{scripted.server_port}", timeout_s=4)

    assert ended.returncode == 1
    assert "not done in time" in ended.stdout
    assert "queued unschedulable" in ended.stdout
    assert "0/1 nodes are available" in ended.stdout


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ('{"rows": 59, "suspicious": 1}', "read 59 rows, not 60"),
        ('{"rows": 60, "suspicious": 3}', "found 3 of 10 planted rows"),
    ],
)
def test_it_does_not_pass_on_a_wrong_result(
    counts: str, said: str, scripted: _Scripted, run: Callable[..., Any]
) -> None:
    scripted.answers = _fine(f'{{"status": "succeeded", "phase": null, "counts": {counts}}}')
    ended = run(f"http://127.0.0.1:{scripted.server_port}")

    assert ended.returncode == 1
    assert said in ended.stdout


def test_nobody_there_is_a_failure(run: Callable[..., Any]) -> None:
    ended = run("http://127.0.0.1:9", timeout_s=1)

    assert ended.returncode == 1
    assert "refused" in ended.stdout


def test_the_pod_runs_it_with_what_it_reads() -> None:
    objects = render(profile_values("small", {"tests": {"baseModel": "s3://models/base"}}))
    (pod,) = of_kind(objects, "Pod")
    (container,) = pod["spec"]["containers"]
    (script,) = [each for each in of_kind(objects, "ConfigMap") if "smoke_test.py" in each["data"]]
    given = {each["name"]: each["value"] for each in container["env"]}
    source = (CHART / "files" / "smoke_test.py").read_text()

    assert script["data"]["smoke_test.py"].rstrip() == source.rstrip()
    assert container["command"] == ["python", "/etc/temper/test/smoke_test.py"]
    assert given["SMOKE_URL"] == "http://temper-api.ml.svc:8000"
    assert given["SMOKE_BASE_MODEL"] == "s3://models/base"
    assert all(f'"{name}"' in source for name in given)
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["activeDeadlineSeconds"] > int(given["SMOKE_TIMEOUT_S"])
