from pathlib import Path

import pytest

from deploy.process.log import TAIL_BYTES
from deploy.process.log import escape_controls
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\tb", "a\tb"),
        ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
        ("\x1b[2J", "\\u{1b}[2J"),
        ("nul\x00", "nul\\u{0}"),
        ("c1\x9b31m", "c1\\u{9b}31m"),
        ("bidi\u202eevil", "bidi\\u{202e}evil"),
        ("zero\u200bwidth", "zero\\u{200b}width"),
        ("line\u2028separator", "line\\u{2028}separator"),
        ("größe 模型", "größe 模型"),
    ],
)
def test_controls_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert escape_controls(text) == shown
