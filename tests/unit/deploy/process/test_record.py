from pathlib import Path

import pytest

from deploy.process.record import read_record
from deploy.process.record import write_record


def test_round_trip_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_record(tmp_path / "exit.json", {"exit_code": 3})
    assert read_record(tmp_path / "exit.json") == {"exit_code": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["exit.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_what_is_no_record_reads_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "exit.json").write_bytes(content)
    assert read_record(tmp_path / "exit.json") is None


def test_no_file_reads_as_none(tmp_path: Path) -> None:
    assert read_record(tmp_path / "exit.json") is None
