"""The page of the matrix and the names of tests say the same, and the program that runs them counts rightly."""

from pathlib import Path

import pytest

from tests.matrix.agreement import absent
from tests.matrix.agreement import disagreements
from tests.matrix.named_tests import NamedTest
from tests.matrix.named_tests import named_tests
from tests.matrix.results import read_record
from tests.matrix.results import run
from tests.matrix.results import summed
from tests.matrix.rows import PAGE
from tests.matrix.rows import PageError
from tests.matrix.rows import Row
from tests.matrix.rows import read_page

SOURCE = """
import pytest
pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

def test_d1_one(): ...

@pytest.mark.cluster
@pytest.mark.parametrize("n", [1])
async def test_e2_two(n): ...

class TestOthers:
    def test_d1_three(self): ...

def test_k8s_is_no_row(): ...

def helper():
    def test_d2_inside(): ...
"""
RECORD = """<testsuites><testsuite>
<testcase classname="a" name="test_d1_one"/>
<testcase classname="a" name="test_d1_two[x]"><failure message="no&#10;more">trace</failure></testcase>
<testcase classname="a" name="test_d2_one"><skipped message="no engine"/></testcase>
<testcase classname="a" name="test_d3_one"><skipped message="no engine"/></testcase>
<testcase classname="a" name="test_d3_two"/>
<testcase classname="a" name="test_d4_one"><error message="fixture">trace</error></testcase>
<testcase classname="a" name="test_anything"/>
</testsuite></testsuites>"""


def row(identifier: str, *, lane: str = "default", reason: str = "") -> Row:
    return Row(id=identifier, fault="f", expected="e", lane="" if reason else lane, reason=reason)


def test_the_page_and_the_names_of_tests_agree() -> None:
    rows, tests = read_page(PAGE.read_text()).rows, named_tests()
    assert disagreements(rows, tests) == []
    assert absent(rows, tests) == []


def test_rows_are_found_in_the_names_of_tests_with_their_lanes(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(SOURCE)
    found = [(test.row, test.node, test.lane) for test in named_tests(tmp_path)]
    where = f"{tmp_path.name}/test_x.py"
    assert found == [
        ("D1", f"{where}::test_d1_one", "slow"),
        ("E2", f"{where}::test_e2_two", "cluster"),
        ("D1", f"{where}::TestOthers::test_d1_three", "slow"),
    ]


def test_each_disagreement_is_said(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(SOURCE)
    tests = named_tests(tmp_path)
    assert disagreements([row("D1", lane="slow"), row("E2", lane="cluster")], tests) == []
    assert "names E2, which is no row" in disagreements([row("D1", lane="slow")], tests)[0]
    [other_lane] = disagreements([row("D1"), row("E2", lane="cluster")], tests)
    assert other_lane == "D1 is said to run in the lane default, and runs in slow"
    [needless] = disagreements([row("D1", lane="slow"), row("E2", reason="no cluster")], tests)
    assert needless == "E2 has a reason to have no test, and has tests"
    assert absent([row("D1"), row("D7"), row("D8", reason="none")], tests) == ["D7"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("| D9 |", "| D99 |"), "D9 missing; D99 too many"),
        (("| D9 |", "| D8 |"), "D9 missing; D8, D8 too many"),
        (("| D9 |", "| E9 |"), "E9 stands in section D"),
        (
            ("other is told of the conflict | default |", "other is told of the conflict | daily |"),
            "'daily' is neither",
        ),
        (
            ("other is told of the conflict | default |", "other is told of the conflict | reason: |"),
            "neither a lane",
        ),
        (("other is told of the conflict | default |", "other is told of the conflict |"), "a row has an id"),
    ],
)
def test_a_page_that_is_not_whole_is_refused(change: tuple[str, str], complaint: str) -> None:
    text = PAGE.read_text()
    assert change[0] in text
    with pytest.raises(PageError, match=complaint):
        read_page(text.replace(*change))


def test_a_reason_stands_in_place_of_the_lane() -> None:
    text = PAGE.read_text().replace("of the conflict | default |", "of the conflict | reason: nobody can |")
    [found] = [row for row in read_page(text).rows if row.id == "D9"]
    assert (found.lane, found.reason) == ("", "nobody can")


def test_a_row_fails_with_one_test_and_passes_only_if_something_ran() -> None:
    outcomes = summed(read_record(RECORD))
    assert outcomes["D1"] == ("failed", "test_d1_two[x]: no")
    assert outcomes["D2"] == ("skipped", "no engine")
    assert outcomes["D3"][0] == "passed"
    assert outcomes["D4"][0] == "failed"
    assert set(outcomes) == {"D1", "D2", "D3", "D4"}


def test_a_single_parameter_that_needs_a_cluster_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    source = tmp_path / "test_parameters.py"
    source.write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('there', [True, pytest.param(False, marks=pytest.mark.cluster)])\n"
        "def test_d1_one(there): assert there\n"
    )
    test = NamedTest(row="D1", node=f"{source}::test_d1_one", lane="default", marks=frozenset())
    results = run([test], tmp_path / "record.xml")
    assert [(each.row, each.outcome) for each in results] == [("D1", "passed")]
