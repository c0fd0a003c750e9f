"""The parts of a table in Markdown."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

DASH = "\N{EN DASH}"
"""Where nothing was measured."""


def row(cells: Iterable[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def header(cells: Sequence[str]) -> Iterator[str]:
    """The two lines that a table begins with."""
    yield row(cells)
    yield row(["---"] * len(cells))


def span(low: float, high: float, form: str = "g") -> str:
    """``1-3`` with an en dash, or one number where both are the same."""
    lower, upper = format(low, form), format(high, form)
    return lower if lower == upper else f"{lower}{DASH}{upper}"
