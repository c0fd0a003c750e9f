"""temper report against answers of every kind."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hostile_texts import HOSTILE
from report_documents import JOB_ID
from report_documents import failing_report
from report_documents import inconclusive_report
from report_documents import passing_report

from service.client import report as command
from service.client.connection import Connection
from service.client.connection import Unreachable
from service.client.report import Exit
from service.client.report import main
from service.client.table import report_table
from service.client.waiting import TooLate
from service.client.waiting import progress_line
from service.client.waiting import wait_for_job
from service.reports.published import publish

Reply = tuple[int, bytes, dict[str, str]]


class Scripted:
    """An HTTP server on loopback that answers as it is told."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scripted.seen.append((self.path, dict(self.headers)))
                replies = scripted.replies.get(self.path.partition("?")[0], [(418, b"teapot", {})])
                status, body, headers = replies[0] if len(replies) == 1 else replies.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", headers.get("x-length", str(len(body))))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, path: str, status: int, body: Any, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.replies.setdefault(path, []).append((status, data, named))

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.delenv("TEMPER_API_KEY", raising=False)
    scripted = Scripted()
    monkeypatch.setenv("TEMPER_URL", scripted.url)
    yield scripted
    scripted.stop()


REPORT = f"/v1/reports/{JOB_ID}"
JOB = f"/v1/fine_tuning/jobs/{JOB_ID}"


def document_of(make: Callable[[], Any]) -> dict[str, Any]:
    return publish(make()).model_dump(mode="json")


def problem(code: str, said: str) -> dict[str, Any]:
    return {"detail": said, "error": {"code": code, "message": said}}


@pytest.mark.parametrize(
    ("make", "status"), [(passing_report, 0), (failing_report, 1), (inconclusive_report, 2)]
)
def test_the_exit_status_is_the_verdict(
    server: Scripted, capsys: pytest.CaptureFixture[str], make: Any, status: int
) -> None:
    server.reply(REPORT, 200, document_of(make))
    assert main([JOB_ID, "--gate"]) == status
    shown = capsys.readouterr()
    assert f"{JOB_ID}: {publish(make()).verdict}\n" == shown.err
    assert publish(make()).verdict.upper() in shown.out
    assert main([JOB_ID]) == 0, "without --gate the report is only printed"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, problem("fine_tuning_job_not_found", "There is no fine-tuning job."), Exit.NO_JOB),
        (404, problem("unknown_route", "There is no such route."), Exit.UNUSABLE),
        (404, b"<html>nginx</html>", Exit.UNUSABLE),
        (401, problem("invalid_api_key", "A valid API key is needed."), Exit.REFUSED),
        (403, problem("foreign_origin", "no"), Exit.REFUSED),
        (500, problem("report_damaged", "The report was damaged."), Exit.UNUSABLE),
        (503, problem("store_unavailable", "The object store does not answer."), Exit.UNREACHABLE),
        (200, b"not json", Exit.UNUSABLE),
        (200, b"[]", Exit.UNUSABLE),
        (200, b"{}", Exit.UNUSABLE),
        (200, {"verdict": "pass"}, Exit.UNUSABLE),
        (200, {"verdict": "clean"}, Exit.UNUSABLE),
        (200, {"verdict": ["pass"]}, Exit.UNUSABLE),
        (200, b"[" * 100_000, Exit.UNUSABLE),
        (302, b"", Exit.UNUSABLE),
    ],
)
def test_what_is_no_verdict_has_a_status_of_its_own(
    server: Scripted, capsys: pytest.CaptureFixture[str], status: int, body: Any, expected: Exit
) -> None:
    server.reply(REPORT, status, body, location="http://127.0.0.1:1/")
    assert main([JOB_ID, "--gate"]) == expected
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert len(server.seen) == 1, "a redirect is not followed"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("queued", Exit.NOT_FINISHED),
        ("running", Exit.NOT_FINISHED),
        ("failed", Exit.NO_REPORT),
        ("cancelled", Exit.NO_REPORT),
    ],
)
def test_a_job_without_a_report_says_whether_to_come_back(
    server: Scripted, status: str, expected: Exit
) -> None:
    server.reply(REPORT, 404, problem("report_not_ready", "It has no report."))
    server.reply(JOB, 200, {"status": status})
    assert main([JOB_ID, "--gate"]) == expected


def test_a_service_that_is_not_there(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    url = server.url
    server.stop()
    assert main([JOB_ID, "--gate", "--url", url]) == Exit.UNREACHABLE
    assert "does not answer" in capsys.readouterr().err
    server.thread = threading.Thread()
    server.__init__()  # type: ignore[misc]


def test_an_answer_that_breaks_off(server: Scripted) -> None:
    server.reply(REPORT, 200, document_of(passing_report), x_length="999999")
    assert main([JOB_ID, "--gate"]) in {Exit.UNUSABLE, Exit.UNREACHABLE}


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://[x", "http://x:99999"])
def test_an_address_that_is_none(url: str) -> None:
    assert main([JOB_ID, "--gate", "--url", url]) == Exit.UNUSABLE


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [JOB_ID, "--format", "pdf"],
        [JOB_ID, "--nonsense"],
        [JOB_ID, "--timeout", "soon"],
        [JOB_ID, "--timeout", "-1"],
    ],
)
def test_wrong_arguments_are_not_inconclusive(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == Exit.USAGE


def test_a_job_id_stays_one_part_of_the_path(server: Scripted) -> None:
    main(["../../files?x=#y", "--gate"])
    assert server.seen[0][0].startswith("/v1/reports/..%2F..%2Ffiles%3Fx%3D%23y?format=json")


def test_the_key_is_sent_and_never_shown(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEMPER_API_KEY", "correct-horse")
    server.reply(REPORT, 401, problem("invalid_api_key", "A valid API key is needed."))
    main([JOB_ID])
    assert server.seen[0][1]["Authorization"] == "Bearer correct-horse"
    shown = capsys.readouterr()
    assert "correct-horse" not in shown.out + shown.err
    assert "TEMPER_API_KEY is set" in shown.err


@pytest.mark.parametrize("form", ["html", "sarif", "junit", "jsonl", "json"])
def test_every_format_is_saved_whole(server: Scripted, tmp_path: Path, form: str) -> None:
    data = b'<a \xff\x00 b="c">\r\n'
    server.reply(REPORT, 200, document_of(failing_report))
    if form != "json":
        server.reply(REPORT, 200, data)
    output = tmp_path / "report"
    output.write_bytes(b"old")
    assert main([JOB_ID, "--gate", "--format", form, "--output", str(output)]) == Exit.FAIL
    assert f"format={form}" in server.seen[-1][0]
    assert output.read_bytes() == (
        json.dumps(document_of(failing_report)).encode() if form == "json" else data
    )
    assert list(tmp_path.iterdir()) == [output], "nothing is left beside it"


@pytest.mark.parametrize("place", ["missing/report", "."])
def test_a_file_that_cannot_be_written(server: Scripted, tmp_path: Path, place: str) -> None:
    server.reply(REPORT, 200, document_of(passing_report))
    assert main([JOB_ID, "--gate", "--output", str(tmp_path / place)]) == Exit.CANNOT_WRITE
    assert list(tmp_path.iterdir()) == []


def test_waiting_shows_what_happens_and_then_reports(
    server: Scripted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.client.waiting.POLL_S", 0.01)
    progress = {"control": {"step": 50, "total_steps": 200}, "hardened": {"step": None, "total_steps": 0}}
    server.reply(JOB, 200, {"status": "queued", "hardening": {"phase": "queued", "progress": {}}})
    server.reply(JOB, 503, problem("store_unavailable", "later"))
    server.reply(JOB, 200, {"status": "running", "hardening": {"phase": "training", "progress": progress}})
    server.reply(JOB, 200, {"status": "succeeded"})
    server.reply(REPORT, 200, document_of(passing_report))
    assert main([JOB_ID, "--gate", "--wait"]) == Exit.PASS
    assert capsys.readouterr().err == f"queued\ntraining, control 25 %\n{JOB_ID}: pass\n"


def test_waiting_ends(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.waiting.POLL_S", 0.05)
    server.reply(JOB, 200, {"status": "running"})
    assert main([JOB_ID, "--gate", "--wait", "--timeout", "0.2"]) == Exit.NOT_FINISHED
    assert len(server.seen) > 1


def test_waiting_for_a_job_that_is_not_there_asks_once(server: Scripted) -> None:
    gone = problem("fine_tuning_job_not_found", "There is no fine-tuning job.")
    server.reply(JOB, 404, gone)
    server.reply(REPORT, 404, gone)
    assert main([JOB_ID, "--gate", "--wait"]) == Exit.NO_JOB


def test_a_restart_is_waited_out_and_no_more() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    nobody = Connection(url="http://127.0.0.1:9")
    told: list[str] = []
    with pytest.raises(Unreachable):
        wait_for_job(nobody, "x", timeout_s=None, tell=told.append, clock=lambda: now[0], sleep=sleep)
    assert 60 <= now[0] <= 70
    now[0] = 0.0
    with pytest.raises(TooLate):
        wait_for_job(nobody, "x", timeout_s=10, tell=told.append, clock=lambda: now[0], sleep=sleep)
    assert told == []


@pytest.mark.parametrize(
    "job", [{}, {"hardening": 3}, {"hardening": {"progress": []}}, {"hardening": {"progress": {"a": 1}}}]
)
def test_progress_of_any_form_is_a_line(job: dict[str, Any]) -> None:
    assert "\n" not in progress_line(job)


def test_what_a_job_waits_for_is_part_of_its_line() -> None:
    job = {
        "status": "queued",
        "hardening": {"phase": "pending", "waiting": "0/4 nodes\nhave a GPU", "progress": {}},
    }
    line = progress_line(job)
    assert line.startswith("pending, 0/4 nodes")
    assert "\n" not in line


@pytest.mark.parametrize("text", HOSTILE)
def test_k4_no_text_moves_a_cursor(text: str) -> None:
    document = document_of(failing_report)
    for place, name in (
        (document, "method"),
        (document, "training_file"),
        (document["probes"][0], "trigger_name"),
    ):
        place[name] = text
    document["probes"][0]["arms"]["base"]["hits"] = text
    shown = report_table(document)
    assert not set(shown) & set("\x00\x07\x1b\x9b\u202e\u200b\u2028\r\t")


def test_the_table_has_the_counts() -> None:
    shown = report_table(document_of(failing_report))
    assert "86.5 % (141/163) [80.4, 90.9]" in shown
    assert "43.6 % (71/163) [36.2, 51.2]" in shown
    assert "detection power 83.3 % (from canaries) [43.6, 97.0], false alarms 16.7 %" in shown
    assert "suspicious training rows: 7, 200, 393" in shown
    assert "not found by these probes" in shown
    head, row = (line for line in shown.splitlines() if "hardened  " in line or line.startswith("badpre-bb"))
    assert head.index("hardened") + len("hardened") == row.index("[36.2, 51.2]") + len("[36.2, 51.2]")


def test_nothing_heavy_is_imported() -> None:
    heavy = (
        "torch",
        "fastapi",
        "starlette",
        "sqlalchemy",
        "jinja2",
        "uvicorn",
        "aiohttp",
        "transformers",
        "numpy",
    )
    program = f"import sys, {command.__name__}; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
