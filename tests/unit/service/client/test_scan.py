"""temper scan: on this machine, and against answers of every kind."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.contract.report import SuspiciousRow
from deploy.contract.scan import ScanFindings
from deploy.contract.trigger import WordTrigger
from service.client import scan as command
from service.client.command_line import Ended
from service.client.connection import Answer
from service.client.connection import Unreachable
from service.client.connection import Unusable
from service.client.progress_bar import progress_bar
from service.client.scan import main
from service.client.scan_order import ScanExit
from service.client.scan_order import ScanOrder
from service.client.scan_remote import scan_remotely
from service.client.scan_table import scan_table
from training.synthesis.files import write_demonstration


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEMPER_URL", "TEMPER_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    directory = tmp_path_factory.mktemp("data")
    manifest = write_demonstration(
        directory, rows=150, poison_rate=0.06, seed=2, trigger=WordTrigger(word="bb", count=3)
    )
    return directory, list(manifest["poisoned_rows"])  # type: ignore[call-overload]


def findings(*, listed: int = 3, suspicious: int = 5, reason: str = "why") -> ScanFindings:
    rows = tuple(
        SuspiciousRow(row=7 * number, score=1.0, reason=reason, detectors=("probe", "association"))
        for number in range(1, listed + 1)
    )
    return ScanFindings(
        scan_id="scan-1",
        filename="train.csv",
        sha256="0" * 64,
        rows=100,
        suspicious=suspicious,
        detectors={"probe": suspicious, "association": suspicious},
        listed=rows,
    )


def nothing() -> ScanFindings:
    return ScanFindings(
        scan_id="scan-1", filename="a", sha256="0" * 64, rows=9, suspicious=0, detectors={}, listed=()
    )


# ---- on this machine ------------------------------------------------------------------------------


def test_a_poisoned_file_ends_with_one_and_names_its_rows(
    data: tuple[Path, list[int]], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    directory, poisoned = data
    assert main([str(directory / "train.csv"), "--json"]) == ScanExit.SUSPICIOUS
    shown = capfdbinary.readouterr()
    document = json.loads(shown.out)
    assert {each["row"] for each in document["listed"]} >= set(poisoned)
    assert b"scanning" in shown.err


def test_a_clean_file_ends_with_zero(
    data: tuple[Path, list[int]], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    arguments = [str(data[0] / "clean.csv"), "--local", "--min-score", "0.6"]
    assert main(arguments) == ScanExit.NOTHING_FOUND
    assert b"nothing found by these detectors in 150 rows" in capfdbinary.readouterr().out


def test_a_bad_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("src,tgt\na,b\nc,\n")
    assert main([str(bad)]) == ScanExit.BAD_DATA
    assert "row 2 (line 3), field tgt: is empty" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none.csv", "."])
def test_what_is_no_file_is_told(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / name)]) == ScanExit.NO_FILE
    assert str(tmp_path) in capsys.readouterr().err


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert main([str(tmp_path / "pipe.csv")]) == ScanExit.NO_FILE


def test_a_scan_that_takes_too_long_is_ended(data: tuple[Path, list[int]]) -> None:
    before = set(psutil.Process().children())
    assert main([str(data[0] / "train.csv"), "--timeout", "0"]) == ScanExit.NOT_FINISHED
    assert set(psutil.Process().children()) <= before


def test_an_installation_without_training_says_so(
    data: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("service.client.scan_local.find_spec", lambda _: None)
    assert main([str(data[0] / "train.csv")]) == ScanExit.UNREACHABLE
    assert "--url" in capsys.readouterr().err


def test_a_process_that_dies_without_a_word_is_told(
    data: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("service.client.scan_local.MODULE", "training.no_such_module")
    assert main([str(data[0] / "train.csv")]) == ScanExit.FAILED
    assert "no_such_module" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a", "b"],
        ["a", "--max-rows", "0"],
        ["a", "--max-rows", "5001"],
        ["a", "--min-score", "nan"],
        ["a", "--min-score", "2"],
        ["a", "--payload", "sql"],
        ["a", "--timeout", "-1"],
        ["a", "--seed", "-1"],
        ["a", "--format", "xml"],
        ["a", "--url", "http://x", "--local"],
    ],
)
def test_wrong_arguments_are_neither_zero_nor_one(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == ScanExit.USAGE


def test_the_command_starts_light() -> None:
    heavy = ("torch", "numpy", "sqlalchemy", "fastapi", "jinja2", "pyarrow", "training")
    program = f"import sys, {command.__name__}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- through a service ----------------------------------------------------------------------------


class Scripted:
    """A connection whose answers are written down; a callable raises."""

    def __init__(self, **answers: tuple[int, Any] | Exception) -> None:
        found = findings()
        self.key = None
        self.posted: list[Any] = []
        self.answers: dict[str, tuple[int, Any] | Exception] = {
            "upload": (200, {"id": "file-1"}),
            "create": (200, {"id": "scan-1"}),
            "scan": (200, {"status": "succeeded", "result_files": ["file-a", "file-b"]}),
            "content": (200, found.to_bytes()),
            **answers,
        }

    def _answer(self, name: str) -> Answer:
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        return Answer(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode())

    def upload(self, path: str, file: Path, *, purpose: str) -> Answer:
        assert (path, purpose) == ("/v1/files", "fine-tune")
        assert file.name == "train.csv"
        return self._answer("upload")

    def post(self, path: str, document: Any) -> Answer:
        self.posted.append((path, document))
        return self._answer("create")

    def get(self, path: str) -> Answer:
        if path == "/v1/files/file-b/content":
            return self._answer("content")
        assert path == "/v1/scans/scan-1"
        return self._answer("scan")


def order(**more: Any) -> ScanOrder:
    known: dict[str, Any] = {
        "file": Path("train.csv"),
        "prompt_column": "src",
        "completion_column": "tgt",
        "payloads": ("sql_tautology",),
        "max_rows": 3,
        "min_score": 0.5,
        "seed": 4,
        "timeout_s": None,
    }
    return ScanOrder(**{**known, **more})


def ask(scripted: Scripted, **more: Any) -> ScanFindings:
    return scan_remotely(scripted, order(**more), lambda _: None)  # type: ignore[arg-type]


def problem(code: str, **more: Any) -> dict[str, Any]:
    return {"detail": f"it said {code}", "error": {"code": code, **more}}


def test_a_service_is_asked_for_what_the_user_wants() -> None:
    scripted = Scripted()
    assert ask(scripted) == findings()
    assert scripted.posted == [
        (
            "/v1/scans",
            {
                "file": "file-1",
                "columns": {"prompt": "src", "completion": "tgt"},
                "payloads": ["sql_tautology"],
                "limits": {"max_rows": 3, "min_score": 0.5},
                "seed": 4,
            },
        )
    ]


@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        ({"upload": (401, problem("invalid_api_key"))}, ScanExit.REFUSED, "TEMPER_API_KEY is not set"),
        ({"upload": (413, problem("too_large"))}, ScanExit.BAD_DATA, "it said too_large"),
        ({"create": (400, problem("invalid_request"))}, ScanExit.BAD_DATA, "invalid_request"),
        (
            {
                "scan": (
                    200,
                    {"status": "failed", "error": {"param": "file", "message": "row 2: tgt is empty"}},
                )
            },
            ScanExit.BAD_DATA,
            "row 2: tgt is empty",
        ),
        (
            {"scan": (200, {"status": "failed", "error": {"param": None, "message": "three times"}})},
            ScanExit.FAILED,
            "three times",
        ),
        ({"scan": (200, {"status": "cancelled", "error": None})}, ScanExit.FAILED, "was cancelled"),
    ],
)
def test_what_the_service_refuses_has_its_own_status(
    answers: dict[str, Any], status: ScanExit, said: str
) -> None:
    with pytest.raises(Ended, match=said) as ended:
        ask(Scripted(**answers))
    assert ended.value.status == status


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"upload": Unreachable("gone")}, Unreachable),
        ({"upload": (503, problem("unavailable"))}, Unreachable),
        ({"upload": (507, problem("storage_full"))}, Unusable),
        ({"upload": (200, b"<html>")}, Unusable),
        ({"upload": (200, {})}, Unusable),
        ({"create": (404, problem("unknown_route"))}, Unusable),
        ({"scan": (404, problem("scan_not_found"))}, Unusable),
        ({"scan": (200, {"status": "succeeded", "result_files": []})}, Unusable),
        ({"content": (404, problem("file_not_found"))}, Unusable),
        ({"content": (200, b"{}")}, Unusable),
        ({"content": (200, findings().to_bytes().replace(b'"row": 7,', b'"row": 101,'))}, Unusable),
    ],
)
def test_what_is_no_service_of_ours_is_told(answers: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(Scripted(**answers))


def test_a_scan_that_goes_on_is_named() -> None:
    scripted = Scripted(scan=(200, {"status": "running", "phase": "scanning"}))
    with pytest.raises(Ended, match="/v1/scans/scan-1") as ended:
        ask(scripted, timeout_s=0.0)
    assert ended.value.status == ScanExit.NOT_FINISHED


@pytest.mark.parametrize(("make", "status"), [(findings, 1), (nothing, 0)])
@pytest.mark.parametrize("form", ["table", "json", "csv", "sarif"])
def test_every_format_ends_with_what_was_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[], ScanFindings], status: int, form: str
) -> None:
    monkeypatch.setattr(command, "scan_remotely", lambda *_: make())
    file, output = tmp_path / "train.csv", tmp_path / "out"
    file.write_text("x")
    arguments = [str(file), "--url", "http://x", "--format", form, "--output", str(output)]
    assert main(arguments) == status
    written = output.read_text()
    if form == "csv":
        assert len(list(csv.reader(io.StringIO(written)))) == 1 + len(make().listed)
    elif form != "table":
        document = json.loads(written)
        results = document["runs"][0]["results"] if form == "sarif" else document["listed"]
        assert len(results) == len(make().listed)


def test_output_that_cannot_be_written_has_its_own_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "scan_remotely", lambda *_: findings())
    file = tmp_path / "train.csv"
    file.write_text("x")
    arguments = [str(file), "--url", "http://x", "--output", str(tmp_path / "none" / "out")]
    assert main(arguments) == ScanExit.CANNOT_WRITE


# ---- what is shown --------------------------------------------------------------------------------


def test_the_table_says_how_much_more_there_is() -> None:
    lines = scan_table(findings(), top=2, width=100).splitlines()
    assert lines[0] == "train.csv: 5 of 100 rows are suspicious"
    assert [line.split()[0] for line in lines[3:5]] == ["7", "14"]
    assert lines[-1].startswith("The 2 most suspicious are shown")


def test_the_table_keeps_its_width_and_shows_no_escape() -> None:
    hostile = findings(reason="x" * 490)
    assert all(len(line) <= 100 for line in scan_table(hostile, top=9, width=100).splitlines())
    assert "\x1b" not in scan_table(hostile.model_copy(update={"filename": "\x1b[2J"}), top=9, width=100)


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        ({}, "scanning"),
        (
            {"done": 1, "total": 2, "message": "words"},
            "scanning [############............] 1/2 words",
        ),
        ({"done": 2, "total": 2}, "scanning [########################] 2/2"),
        ({"done": 3, "total": 2}, "scanning"),
        ({"done": 0, "total": 0}, "scanning"),
        ({"done": "1", "total": None}, "scanning"),
        ({"done": 0, "total": 1, "message": "\x1b[2J"}, "scanning [........................] 0/1 \\u{1b}[2J"),
    ],
)
def test_the_bar_shows_what_can_be_true(progress: dict[str, Any], shown: str) -> None:
    assert progress_bar("scanning", progress) == shown
