"""Text of unknown origin in Markdown: shown as it is, never as a link, a heading, HTML or a table's edge."""

import json
import string
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Final

from service.reports.visible import one_line

_ESCAPES: Final = str.maketrans({each: f"\\{each}" for each in string.punctuation})


def text(said: str, *, limit: int = 300) -> str:
    """On one line, every sign that could mean something to Markdown escaped."""
    return one_line(said, limit=limit).translate(_ESCAPES)


def scalar(said: str) -> str:
    """A value of YAML front matter."""
    return json.dumps(one_line(said))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells that are Markdown already."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'|'.join(' --- ' for _ in head)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
