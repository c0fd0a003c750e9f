"""What is wrong between the page and the tests' names, said in sentences."""

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence

from tests.matrix.named_tests import NamedTest
from tests.matrix.rows import Row


def by_row(tests: Sequence[NamedTest]) -> Mapping[str, list[NamedTest]]:
    """The tests of each row that has any."""
    found: dict[str, list[NamedTest]] = defaultdict(list)
    for test in tests:
        found[test.row].append(test)
    return found


def disagreements(rows: Sequence[Row], tests: Sequence[NamedTest]) -> list[str]:
    """Names without a row, reasons that no longer hold, lanes in which a row has no test."""
    of_row = by_row(tests)
    known = {row.id for row in rows}
    found = [f"{test.node} names {test.row}, which is no row" for test in tests if test.row not in known]
    for row in rows:
        lanes = {test.lane for test in of_row.get(row.id, [])}
        if lanes and row.reason:
            found.append(f"{row.id} has a reason to have no test, and has tests")
        elif lanes and row.lane not in lanes:
            found.append(
                f"{row.id} is said to run in the lane {row.lane}, and runs in {', '.join(sorted(lanes))}"
            )
    return found


def absent(rows: Sequence[Row], tests: Sequence[NamedTest]) -> list[str]:
    """The rows without a test and without a reason."""
    tested = {test.row for test in tests}
    return [row.id for row in rows if row.id not in tested and not row.reason]
