"""How the matrix is shown on a terminal."""

import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

from tests.matrix.named_tests import NamedTest
from tests.matrix.rows import Page

OUTCOMES: Final = ("passed", "failed", "absent", "no test", "not run here")


def print_outcomes(page: Page, outcomes: Mapping[str, tuple[str, str]]) -> None:
    """A table for each section, and the totals."""
    for row in page.rows:
        outcome, why = outcomes[row.id]
        _section(page, row.id)
        _print(f"  {row.id:<4} {outcome:<13} {_cut(row.fault if not why else f'{row.fault}: {why}', 24)}")
    counts = Counter(outcome for outcome, _ in outcomes.values())
    _print(f"\n{len(page.rows)} rows: " + ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES))


def print_list(page: Page, tests: Mapping[str, Sequence[NamedTest]]) -> None:
    """The tests of each row, and how many rows have none."""
    for row in page.rows:
        _section(page, row.id)
        own = tests.get(row.id, [])
        state = "" if own else f"reason: {row.reason}" if row.reason else "ABSENT"
        _print(f"  {row.id:<4} {_cut(row.fault, 12)}")
        for line in [f"{test.lane:<8} {test.node}" for test in own] or [state]:
            _print(f"         {line}")
    without = [row for row in page.rows if row.id not in tests]
    missing = [row.id for row in without if not row.reason]
    _print(f"\n{len(page.rows)} rows: {len(page.rows) - len(without)} with tests, {len(without)} without")
    if missing:
        _print(f"absent without a reason: {' '.join(missing)}")


def _section(page: Page, row: str) -> None:
    first = next(other.id for other in page.rows if other.section == row[0])
    if row == first:
        _print(f"\n{row[0]}. {page.titles[row[0]]}")


def _cut(text: str, indent: int) -> str:
    room = shutil.get_terminal_size((160, 24)).columns - indent
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
