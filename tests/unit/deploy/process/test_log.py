from pathlib import Path

from deploy.process.log import TAIL_BYTES
from deploy.process.log import read_tail


def test_no_file_is_an_empty_tail(tmp_path: Path) -> None:
    assert read_tail(tmp_path / "none", lines=5) == ""


def test_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert read_tail(log, lines=2) == "line 98\nline 99"
    assert read_tail(log, lines=0) == ""


def test_reads_a_bounded_part_of_a_huge_file(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        file.truncate(8 << 30)  # sparse: reading it whole would not pass
        file.seek(0, 2)
        file.write(b"\nthe end\n")
    assert read_tail(log, lines=1) == "the end"
    assert len(read_tail(log, lines=10**6)) <= TAIL_BYTES * len("\\u{0}")


def test_a_cut_character_does_no_harm(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes("€".encode() * TAIL_BYTES)
    assert set(read_tail(log, lines=1)) <= {"€", "\N{REPLACEMENT CHARACTER}"}


def test_redrawn_lines_are_shown_one_below_the_other(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"10 %\r20 %\r30 %\r\ndone\r\n")
    assert read_tail(log, lines=9).split("\n") == ["10 %", "20 %", "30 %", "done"]
