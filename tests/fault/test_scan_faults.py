"""Scans that are killed, started twice, or given something else than was accepted: one result, or a reason."""

import hashlib
import os
import signal
from pathlib import Path

import pytest
from scan_process import ScanBench

from deploy.contract import layout
from deploy.contract.exit_codes import ExitCode

WAITS = """
import time
import training.scanning as scanning

def wait(rows, spec, *, on_progress):
    for step in range(6000):
        on_progress(step, 6000, "waiting")
        time.sleep(0.02)

scanning.find_suspicious = wait
"""
"""A scan takes too short a time to be met from outside."""
RAISES = """
import training.scanning as scanning

def raises(rows, spec, *, on_progress):
    raise {error}

scanning.find_suspicious = raises
"""
KILLS_ITSELF = """
import os, signal
import training.publish as publish

upload, count = publish.upload_bytes, []

def die(store, key, data):
    count.append(key)
    if len(count) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return upload(store, key, data)

publish.upload_bytes = die
"""


@pytest.fixture
def patched(tmp_path: Path) -> Path:
    path = tmp_path / "patched"
    path.mkdir()
    return path


def patch(directory: Path, code: str) -> dict[str, str]:
    (directory / "sitecustomize.py").write_text(code)
    # What stands first hides the repository's own path from a start that has it only as its working directory.
    return {"PYTHONPATH": f"{directory}{os.pathsep}{Path.cwd()}"}


def check_one_result(bench: ScanBench, *, pod: str) -> None:
    assert bench.results() == [layout.result_key("scan-abc123")]
    result, findings = bench.result(), bench.findings()
    assert result.pod == pod
    for stored in (result.findings, result.table):
        assert hashlib.sha256(bench.store.get(stored.key)).hexdigest() == stored.sha256
    assert {each.row for each in findings.listed} >= set(bench.poisoned_rows)


def test_a_scan_runs_to_its_one_result(scan_bench: ScanBench) -> None:
    output = scan_bench.run(scan_bench.spec())
    check_one_result(scan_bench, pod="pod")
    assert output == "", "nothing of the file is printed"
    phases = [event.phase for event in scan_bench.events()]
    assert list(dict.fromkeys(phases)) == ["preparing", "scanning", "uploading", "committing"]


def test_killed_while_it_scans_and_started_again(scan_bench: ScanBench, patched: Path) -> None:
    process = scan_bench.start(scan_bench.spec(), env=patch(patched, WAITS))
    scan_bench.wait_for(process, lambda event: event.message == "waiting")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert scan_bench.results() == []
    scan_bench.run(scan_bench.spec(attempt=2), pod="second")
    check_one_result(scan_bench, pod="second")


def test_killed_between_its_two_files_it_has_committed_nothing(scan_bench: ScanBench, patched: Path) -> None:
    scan_bench.run(scan_bench.spec(), expect=-signal.SIGKILL, env=patch(patched, KILLS_ITSELF))
    written = [info.key for info in scan_bench.store.list("scans/")]
    assert any(key.endswith("findings.json") for key in written), "it came as far as it should"
    assert scan_bench.results() == []
    scan_bench.run(scan_bench.spec(attempt=2), pod="second")
    check_one_result(scan_bench, pod="second")


def test_started_twice_at_once_one_commits(scan_bench: ScanBench) -> None:
    processes = {pod: scan_bench.start(scan_bench.spec(), pod=pod) for pod in ("one", "two")}
    codes = {pod: process.wait(timeout=240) for pod, process in processes.items()}
    for process in processes.values():
        process.communicate()
    assert sorted(codes.values()) == [ExitCode.OK, ExitCode.SUPERSEDED]
    winner = next(pod for pod, code in codes.items() if code == ExitCode.OK)
    check_one_result(scan_bench, pod=winner)


def test_started_again_after_its_end_it_changes_nothing(scan_bench: ScanBench) -> None:
    scan_bench.run(scan_bench.spec())
    before = scan_bench.store.get(layout.result_key("scan-abc123"))
    scan_bench.run(scan_bench.spec(), pod="late", expect=ExitCode.SUPERSEDED)
    assert scan_bench.store.get(layout.result_key("scan-abc123")) == before


def test_told_to_stop_it_ends_at_once_and_commits_nothing(scan_bench: ScanBench, patched: Path) -> None:
    process = scan_bench.start(scan_bench.spec(), env=patch(patched, WAITS))
    scan_bench.wait_for(process, lambda event: event.message == "waiting")
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED, output
    assert scan_bench.failure().code == "interrupted"
    assert scan_bench.results() == []


def test_a_deleted_file_is_the_inputs_fault(scan_bench: ScanBench) -> None:
    scan_bench.store.delete(scan_bench.file.key)
    scan_bench.run(scan_bench.spec(), expect=ExitCode.INPUT_CHANGED)
    assert scan_bench.failure().code == "input_changed"


def test_a_changed_file_is_never_scanned(scan_bench: ScanBench) -> None:
    data = bytearray(scan_bench.store.get(scan_bench.file.key))
    data[-5] ^= 1
    scan_bench.store.put(scan_bench.file.key, bytes(data))
    scan_bench.run(scan_bench.spec(), expect=ExitCode.INPUT_CHANGED)
    assert scan_bench.results() == []


def test_c9_another_number_of_rows_than_was_validated_is_told(scan_bench: ScanBench) -> None:
    file = scan_bench.file.model_copy(update={"rows": 199})
    scan_bench.run(scan_bench.spec(file=file), expect=ExitCode.INPUT_CHANGED)
    assert "has 200 rows, 199 were validated" in scan_bench.failure().message


def test_a_column_that_is_not_there_is_the_inputs_fault(scan_bench: ScanBench) -> None:
    file = scan_bench.file.model_copy(update={"prompt_column": "question"})
    scan_bench.run(scan_bench.spec(file=file), expect=ExitCode.INVALID_DATASET)
    assert "question" in scan_bench.failure().message


def test_another_spec_than_was_accepted_is_refused(scan_bench: ScanBench) -> None:
    output = scan_bench.run(scan_bench.spec(), expect=ExitCode.INPUT_CHANGED, sha256="0" * 64)
    assert "not the one that was accepted" in output


@pytest.mark.parametrize("data", [b"{}", b"\x00", b'{"version": 2}'])
def test_what_is_no_spec_is_refused(scan_bench: ScanBench, data: bytes) -> None:
    scan_bench.run(scan_bench.spec(), expect=ExitCode.INVALID_SPEC, data=data)
    assert scan_bench.results() == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("MemoryError()", ExitCode.OUT_OF_MEMORY, "200 rows"),
        ("OSError(28, 'No space left on device')", ExitCode.DISK_FULL, "disk is full"),
        ("ZeroDivisionError('scripted')", ExitCode.PLATFORM, "ZeroDivisionError: scripted"),
    ],
)
def test_what_breaks_is_told_by_its_exit_code(
    scan_bench: ScanBench, patched: Path, error: str, code: ExitCode, said: str
) -> None:
    scan_bench.run(scan_bench.spec(), expect=code, env=patch(patched, RAISES.format(error=error)))
    assert said in scan_bench.failure().message
    assert scan_bench.results() == []
