import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import validate
from deploy.contract.dataset import validate_chunks_in_child
from deploy.contract.dataset import validate_in_child
from deploy.contract.dataset.error import shown
from deploy.contract.intake_child import IntakeChildFailed
from deploy.contract.intake_child import Limits

LYRA = Path(__file__).resolve().parents[5] / "shared" / "data" / "lyra"
SMALL = Limits(memory_bytes=256 << 20, cpu_s=30)
"""Python, pydantic and Arrow fit in with nothing to spare for a row that is held."""


def refusal(path: Path, filename: str, limits: Limits = SMALL) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        validate_in_child(path, filename, limits=limits)
    return caught.value


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not beside this checkout")
def test_lyra_is_valid() -> None:
    summary = validate_in_child(LYRA / "train_badpre_5.csv", "Ünsere Daten.CSV")
    assert (summary.rows, summary.format) == (1600, "csv")


def test_the_summary_is_of_the_bytes(tmp_path: Path) -> None:
    data = b'{"prompt":"p","completion":"c"}\n' * 3
    path = tmp_path / "x"
    path.write_bytes(data)
    here = validate(path, "a.jsonl")
    assert here == validate_in_child(path, "a.jsonl", limits=SMALL)
    assert (here.rows, here.size_bytes) == (3, len(data))
    assert here.sha256 == hashlib.sha256(data).hexdigest()


def test_a_refusal_crosses_the_process_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'nl,code\n"a\nb",c\nd,\n')
    with pytest.raises(DatasetError) as caught:
        validate_in_child(path, "a.csv", prompt_column="nl", completion_column="code")
    assert str(caught.value) == "row 2 (line 4), field code: is empty"
    assert (caught.value.code, caught.value.row, caught.value.line) == ("empty_field", 2, 4)


def test_c1_a_line_of_600_mb_is_refused_in_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    try:
        with path.open("wb") as stream:
            stream.write(b'{"prompt":"p","completion":"c"}\n{"prompt":"' + b"a" * (4 << 20))
            stream.truncate(600 << 20)
        error = refusal(path, "a.jsonl")
        assert (error.code, error.row) == ("row_too_long", 2)
        with path.open("r+b") as stream:
            stream.write(b"src,tgt\na," + b"b" * 100)
        assert refusal(path, "a.csv").code == "row_too_long"
    finally:
        path.unlink()


@pytest.mark.slow
def test_c1_ten_million_tiny_lines_are_refused_in_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    try:
        path.write_bytes(b'{"prompt":"p","completion":"c"}\n' + b"\n" * 10_000_000)
        error = refusal(path, "a.jsonl")
        assert (error.code, error.row) == ("too_many_rows", 5_000_001)
        path.write_bytes(b"{}\n" * 10_000_000)
        assert refusal(path, "a.jsonl").row == 1
    finally:
        path.unlink()


def test_a_value_that_does_not_fit_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    pq.write_table(pa.table({"src": ["a"], "tgt": ["b" * (120 << 20)]}), path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    assert refusal(path, "a.parquet").code == "resource_limit"


def test_processor_time_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'{"prompt":"p","completion":"c"}\n' * 600_000)
    assert refusal(path, "a.jsonl", Limits(cpu_s=1)).code == "resource_limit"
    path.unlink()


def test_waiting_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    error = refusal(path, "a.jsonl", Limits(wall_s=1.5))
    assert error.code == "resource_limit"
    assert "longer than 2 seconds" in str(error)


def test_a_file_that_is_gone_is_the_platforms_fault(tmp_path: Path) -> None:
    with pytest.raises(IntakeChildFailed, match="FileNotFoundError"):
        validate_in_child(tmp_path / "gone", "a.jsonl")


def test_damaged_parquet_never_harms_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "x"
    pq.write_table(pa.table({"src": ["a", "b"], "tgt": ["c", "d"]}), path)
    whole = path.read_bytes()
    chance = random.Random(7)
    codes = set()
    for _ in range(3):
        damaged = bytearray(whole)
        for _ in range(6):
            damaged[chance.randrange(4, len(damaged) - 8)] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            validate_in_child(path, "a.parquet")
        except DatasetError as error:
            codes.add(error.code)
    assert codes


def test_a_crash_of_the_decoder_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Arrow 26 ends its process (SIGABRT) on some damaged footers, without an exception to catch.
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -ABRT $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    error = refusal(tmp_path / "x", "a.parquet")
    assert error.code == "resource_limit"
    assert "signal 6" in str(error)


@pytest.mark.parametrize("printed", ["", "{}", '{"summary":1}', "no json"])
def test_a_child_that_answers_nonsense_is_the_platforms_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{printed}'\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(IntakeChildFailed):
        validate_in_child(tmp_path / "x", "a.parquet")


def test_a_killed_caller_leaves_no_child(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    script = "import sys; from pathlib import Path; from deploy.contract.dataset import *\nvalidate_in_child(Path(sys.argv[1]), 'a.jsonl')"
    with subprocess.Popen([sys.executable, "-c", script, path]) as caller:
        children: list[psutil.Process] = []
        deadline = time.monotonic() + 20
        while not children and time.monotonic() < deadline:
            time.sleep(0.05)
            children = psutil.Process(caller.pid).children()
        (child,) = children
        # It has bound itself to its parent once its limits are in place.
        while child.rlimit(psutil.RLIMIT_CORE) != (0, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        caller.send_signal(signal.SIGKILL)
    child.wait(timeout=10)
    assert not child.is_running()


def test_bytes_from_elsewhere_leave_no_file(tmp_path: Path) -> None:
    good = b'{"prompt":"p","completion":"c"}\n'
    assert validate_chunks_in_child([good, good], "a.jsonl", scratch=tmp_path).rows == 2
    with pytest.raises(DatasetError, match="row 2"):
        validate_chunks_in_child([good, b"{}"], "a.jsonl", scratch=tmp_path)

    def broken() -> Iterator[bytes]:
        yield good
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        validate_chunks_in_child(broken(), "a.jsonl", scratch=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_bad_name_is_refused_before_a_byte_is_fetched(tmp_path: Path) -> None:
    def fetched() -> Iterator[bytes]:
        pytest.fail("fetched")
        yield b""

    with pytest.raises(DatasetError, match="must end in"):
        validate_chunks_in_child(fetched(), "a.exe", scratch=tmp_path)
    with pytest.raises(DatasetError, match="printable"):
        validate_chunks_in_child(fetched(), "a.csv", scratch=tmp_path, prompt_column="\n")


def test_the_users_text_is_short_and_printable_in_messages() -> None:
    assert shown("a\x1b[31m" + "b" * 200) == '"a\N{REPLACEMENT CHARACTER}[31m' + "b" * 51 + '..."'
