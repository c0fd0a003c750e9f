"""The end of a log, made safe to show: a child's output is data, never a terminal command."""

from pathlib import Path
from typing import Final

from deploy.contract.plain_text import escape_controls

TAIL_BYTES: Final = 64 * 1024
"""However long the log and its lines are, no more than this is read."""


def read_tail(path: Path, *, lines: int) -> str:
    """The last ``lines`` lines of a file, at most 64 KiB of it, escaped; empty when there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            data = file.read(TAIL_BYTES)
    except FileNotFoundError:
        return ""
    return show_tail(data, lines=lines)


def show_tail(data: bytes, *, lines: int) -> str:
    """The last ``lines`` lines of some output, escaped."""
    # A progress bar redraws its line with \r: each redraw is shown as a line, none is hidden.
    text = data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    return "\n".join(escape_controls(line) for line in text.split("\n")[-lines:]) if lines > 0 else ""
