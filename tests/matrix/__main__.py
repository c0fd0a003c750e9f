"""``make matrix``: which rows of tests/MATRIX.md are tested, and whether their tests pass.

    python -m tests.matrix            run the tests of all rows and print what became of each row
    python -m tests.matrix --list     print the tests of each row, and run none
    python -m tests.matrix D1 L       only these rows and sections

Exit status: 0 when no row failed and none is absent without a reason; 1 otherwise, and where page and names
disagree; 2 when the tests could not be run.
"""

import argparse
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

from tests.matrix.agreement import absent
from tests.matrix.agreement import by_row
from tests.matrix.agreement import disagreements
from tests.matrix.named_tests import NamedTest
from tests.matrix.named_tests import named_tests
from tests.matrix.results import ROOT
from tests.matrix.results import not_here
from tests.matrix.results import run
from tests.matrix.results import summed
from tests.matrix.rows import PAGE
from tests.matrix.rows import Page
from tests.matrix.rows import PageError
from tests.matrix.rows import Row
from tests.matrix.rows import read_page
from tests.matrix.table import print_list
from tests.matrix.table import print_outcomes

NOT_TRUE, NOT_RUN = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """The whole program; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help="D1, or D for a whole section; all when left out"
    )
    parser.add_argument("--list", action="store_true", help="run nothing, print the tests of each row")
    parser.add_argument(
        "--record", type=Path, default=ROOT / "var" / "matrix.xml", help="pytest's own record"
    )
    args = parser.parse_args(argv)
    try:
        page = _part(read_page(PAGE.read_text()), args.rows)
    except PageError as error:
        sys.stderr.write(f"tests/MATRIX.md: {error}\n")
        return NOT_TRUE
    tests = named_tests()
    wrong = disagreements(read_page(PAGE.read_text()).rows, tests)
    for sentence in wrong:
        sys.stderr.write(f"{sentence}\n")
    if args.list:
        print_list(page, by_row(tests))
        return NOT_TRUE if wrong or absent(page.rows, tests) else 0
    return max(_run(page, tests, args.record), NOT_TRUE if wrong else 0)


def _part(page: Page, wanted: Sequence[str]) -> Page:
    names = {name.upper() for name in wanted}
    known = {name for row in page.rows for name in (row.id, row.section)}
    if strange := names - known:
        raise PageError(f"there is no row {', '.join(sorted(strange))}")
    rows = [row for row in page.rows if not names or row.id in names or row.section in names]
    return Page(rows=rows, titles=page.titles)


def _run(page: Page, tests: Sequence[NamedTest], record: Path) -> int:
    ids = {row.id for row in page.rows}
    chosen = [test for test in tests if test.row in ids]
    record.parent.mkdir(parents=True, exist_ok=True)
    able = [test for test in chosen if not not_here(test)]
    try:
        results = run(able, record) if able else []
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return NOT_RUN
    outcomes = {row.id: _outcome(row, by_row(chosen), summed(results)) for row in page.rows}
    print_outcomes(page, outcomes)
    return NOT_TRUE if any(outcome in ("failed", "absent") for outcome, _ in outcomes.values()) else 0


def _outcome(
    row: Row, tests: Mapping[str, list[NamedTest]], results: Mapping[str, tuple[str, str]]
) -> tuple[str, str]:
    if row.id not in tests:
        return ("no test", row.reason) if row.reason else ("absent", "")
    outcome, why = results.get(row.id, ("skipped", not_here(tests[row.id][0])))
    return ("not run here", why) if outcome == "skipped" else (outcome, why)


if __name__ == "__main__":
    raise SystemExit(main())
