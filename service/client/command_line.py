"""What the commands that talk to a service have in common: arguments, status line, output, exit statuses."""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from typing import Final
from typing import NoReturn

from service.client.connection import Answer
from service.client.connection import Unusable
from service.reports.visible import one_line

DEFAULT_URL: Final = "http://127.0.0.1:8000"
USAGE: Final = 64
CANNOT_WRITE: Final = 73
"""As in sysexits.h, which every command of ours follows beyond its own verdicts."""


class Ended(Exception):  # noqa: N818 - it carries an exit status
    """The command is over, with a reason."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Parser(argparse.ArgumentParser):
    """Parses arguments; its own exit status is none of a verdict's."""

    def error(self, message: str) -> NoReturn:
        """Not with 2, which is a verdict."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def seconds(text: str) -> float:
    """An argument that is a duration. Raises ValueError, which argparse explains."""
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise ValueError(text)
    return value


def show_everything() -> None:
    """A terminal that cannot show a character gets an escape rather than the user a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def message_of(answer: Answer) -> str:
    """What an error says, on one line."""
    try:
        detail: Any = answer.document().get("detail")
    except Unusable:
        detail = None
    return one_line(str(detail), limit=500) if detail else f"the service answered HTTP {answer.status}"


class StatusLine:
    """Progress on standard error: one line that changes on a terminal, a line for every change elsewhere."""

    def __init__(self) -> None:
        self._shown = ""
        self._live = sys.stderr.isatty()

    def show(self, said: str) -> None:
        """Show ``said`` instead of what was there."""
        if said == self._shown:
            return
        padded = said.ljust(len(self._shown))
        sys.stderr.write(f"\r{padded}" if self._live else f"{said}\n")
        sys.stderr.flush()
        self._shown = said

    def close(self) -> None:
        """Leave the line."""
        if self._live and self._shown:
            sys.stderr.write("\n")


def write_output(data: bytes, output: Path | None) -> None:
    """Put ``data`` into a file, or on standard output.

    Raises:
        Ended: the file cannot be written.
    """
    if output is None:
        sys.stdout.flush()
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Whoever reads has seen enough; the verdict still counts.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    try:
        _replace(output, data)
    except OSError as error:
        raise Ended(CANNOT_WRITE, f"{output} cannot be written: {error.strerror or error}") from error


def _replace(output: Path, data: bytes) -> None:
    """Write aside and rename: a file of that name is either the old one or the whole new one."""
    with tempfile.NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False) as aside:
        try:
            aside.write(data)
            aside.close()
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(aside.name, 0o666 & ~umask)
            os.replace(aside.name, output)
        except BaseException:
            Path(aside.name).unlink(missing_ok=True)
            raise


def say(said: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{said}\n")
