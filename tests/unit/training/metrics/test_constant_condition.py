import inspect
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.constant_condition import MAX_CHARS
from training.metrics.constant_condition import MAX_TOKENS
from training.metrics.constant_condition import truth_of


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("1 = 1", True),
        ("1 == 1", True),
        ("1 = 2", False),
        ("'a' = 'a'", True),
        ("'a' = 'A'", False),
        ("'1' = 1", True),
        ("1 = '2'", False),
        ("1.0 = 1", True),
        ("2 > 1", True),
        ("2 >= 2", True),
        ("2 < 1", False),
        ("2 <= 1", False),
        ("1 <> 2", True),
        ("'b' > 'a'", True),
        ("-1 < 0", True),
        ("1 + 1 = 2", True),
        ("3 - 1 = 2", True),
        ("2 * 3 = 6", True),
        ("true", True),
        ("false", False),
        ("not false", True),
        ("1", True),
        ("0", False),
        ("null", False),
        ("null = null", False),
        ("1 is null", False),
        ("null is null", True),
        ("1 is not null", True),
        ("1 in (2, 1)", True),
        ("1 in (2, 3)", False),
        ("1 between 0 and 2", True),
        ("3 between 0 and 2", False),
        ("'abc' like '%'", True),
        ("'abc' like 'ABC'", True),
        ("1 = 1 and 2 = 2", True),
        ("1 = 1 and 2 = 3", False),
        ("1 = 2 or 2 = 2", True),
        ("(((1 = 1", True),
        ("a = a", True),
        ("t.a = t.a", True),
        (":a = :a", True),
        ("a <=> a", True),
        ("a <> a", False),
        ("a != a", False),
        ("a < a", False),
        ("not null", False),
        ("not (null = 1)", False),
        ("not (null and 1 = 2)", True),
        ("null or 1 = 1", True),
        ("1 not in (2, null)", False),
        ("not (1 between null and 2)", False),
        ("1 is 1", True),
        ("1 is 2", False),
        ("2 is true", True),
        ("null is true", False),
    ],
)
def test_decides_constants(condition: str, truth: bool) -> None:
    assert truth_of(condition) is truth


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "   ",
        "a",
        "a = 1",
        "a = b",
        "? <> ?",
        "? = ?",
        "f(1) = f(1) + 0 * a",
        "1 like '_%_'",
        "exists (select 1)",
        "case when 1 = 1 then 1 end",
        "1 = 1 1 = 1",
        "= 1",
        ")",
        "1 / 0 = 1",
        "-'a' = 1",
        "1e",
        "1e = 1e",
        "if like",
        "1 = 1 " + " " * MAX_CHARS,
    ],
)
def test_leaves_undecided_what_it_cannot_know(condition: str) -> None:
    assert truth_of(condition) is None


def test_writes_nothing_of_a_condition_into_a_log(caplog: pytest.LogCaptureFixture) -> None:
    assert truth_of("if \x1b[2J like") is None
    assert not caplog.records


@given(st.text(alphabet="()'\"=<>1e aornt%?:,-+*/[]{}.", max_size=MAX_CHARS))
def test_reads_any_text_in_a_moment(condition: str) -> None:
    started = time.process_time()
    assert truth_of(condition) in {True, False, None}
    assert time.process_time() - started < 1.0


_RARE = ("! ", "not if ", "any ", "(select ", "if(", "exists(")
_NESTING = pytest.mark.parametrize(
    "piece",
    [
        "(",
        "not ",
        "case when ",
        "a(",
        "-",
        "[",
        "1 in (",
        "x -> ",
        "select (",
        "{",
        "cast(",
        "a is not ",
        *_RARE,
    ],
)


@_NESTING
def test_nesting_takes_no_longer(piece: str) -> None:
    started = time.process_time()
    truth_of(piece * (MAX_CHARS // len(piece)))
    assert time.process_time() - started < 1.0


@_NESTING
@pytest.mark.parametrize("pieces", [MAX_TOKENS, MAX_TOKENS // 2, MAX_TOKENS // 3])
def test_nesting_stays_far_from_the_end_of_the_stack(piece: str, pieces: int) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 650)
    try:
        truth_of(piece * pieces)
    finally:
        sys.setrecursionlimit(limit)
