"""Two texts beside each other on a terminal, whatever is in them."""

import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final

WIDTH: Final = 56
"""Columns of each side: both fit into 120."""


def side_by_side(left: str, right: str, *, width: int = WIDTH) -> str:
    """The texts line by line; characters that draw nothing or move the cursor are written as escapes."""
    lines = zip_longest(_lines(left, width), _lines(right, width), fillvalue="")
    return "\n".join(f"{before:<{width}} | {after}".rstrip() for before, after in lines)


def _lines(text: str, width: int) -> Iterator[str]:
    for line in text.expandtabs(2).split("\n"):
        yield from textwrap.wrap(_printable(line), width, drop_whitespace=False) or [""]


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
