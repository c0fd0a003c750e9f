"""The rows of tests/MATRIX.md: reads them, and refuses a page that is not whole. Knows nothing of tests."""

import re
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parent.parent / "MATRIX.md"
SECTIONS: Final = {
    "A": 12,
    "B": 16,
    "C": 10,
    "D": 10,
    "E": 19,
    "F": 11,
    "G": 8,
    "H": 4,
    "I": 8,
    "J": 11,
    "K": 8,
    "L": 10,
    "M": 5,
}
"""How many rows each section has."""
LANES: Final = ("default", "slow", "cluster", "images", "gpu")
_HEADING: Final = re.compile(r"## (?P<letter>[A-M])\. (?P<title>.+)")
_REASON: Final = "reason:"


class PageError(ValueError):
    """tests/MATRIX.md cannot be read; names the row or the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault or bad input, and what is expected of it."""

    id: str
    fault: str
    expected: str
    lane: str
    """Where one of its tests runs at least; empty where there is a reason to have none."""
    reason: str

    @property
    def section(self) -> str:
        """The letter of its section."""
        return self.id[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All rows in their order, and the title of each section by its letter."""

    rows: Sequence[Row]
    titles: dict[str, str]


def read_page(text: str) -> Page:
    """The whole page.

    Raises:
        PageError: a row is missing, stands there twice or in another section, or is not like a row.
    """
    titles = {
        found["letter"]: found["title"].strip()
        for found in map(_HEADING.fullmatch, text.splitlines())
        if found
    }
    rows = list(_rows(text))
    ids = [row.id for row in rows]
    wanted = [f"{letter}{number}" for letter, count in SECTIONS.items() for number in range(1, count + 1)]
    if ids != wanted:
        raise PageError(f"the rows are not those of the matrix: {_difference(ids, wanted)}")
    return Page(rows=rows, titles=titles)


def _rows(text: str) -> Iterator[Row]:
    letter = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("## "):
            heading = _HEADING.fullmatch(line)
            letter = heading["letter"] if heading else ""
        elif letter and re.match(r"\| [A-M]\d", line):
            cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) != 4 or not all(cells):
                raise PageError(f"line {number}: a row has an id, a fault, what is expected and a lane")
            yield _row(cells, letter)


def _row(cells: Sequence[str], letter: str) -> Row:
    identifier, fault, expected, last = cells
    if not identifier.startswith(letter):
        raise PageError(f"{identifier} stands in section {letter}")
    reason = last.removeprefix(_REASON).strip() if last.startswith(_REASON) else ""
    lane = "" if last.startswith(_REASON) else last
    if lane not in LANES and not reason:
        raise PageError(f"{identifier}: {last!r} is neither a lane nor a reason")
    return Row(id=identifier, fault=fault, expected=expected, lane=lane, reason=reason)


def _difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    missing = [row for row in wanted if row not in found]
    surplus = [row for row in found if row not in wanted or found.count(row) > 1]
    parts = [
        f"{', '.join(rows)} {what}" for rows, what in ((missing, "missing"), (surplus, "too many")) if rows
    ]
    return "; ".join(parts) or "another order"
