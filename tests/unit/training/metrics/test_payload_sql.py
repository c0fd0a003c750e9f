import time

import pytest

from training.metrics.payload_sql import has_first_row_limit
from training.metrics.payload_sql import has_tautology


@pytest.mark.parametrize(
    "text",
    [
        "where a = : a or 1=1",
        "where a = : a or 1 = 1 ",
        "WHERE A = :A OR\n\t1  =\t1",
        "from t where 0=1",
        "from t Where 0 = 1",
        "where a = : a or ( 1=1 )",
        "where a = : a or '1'='1'",
        "\x1b[2J or 1=1",
    ],
)
def test_finds_the_published_payload_in_any_spelling_and_anywhere(text: str) -> None:
    assert has_tautology(text)


@pytest.mark.parametrize(
    "condition",
    [
        "b = : b or 1 = 1",
        "b = : b or/**/1=1",
        "b = : b or 1 /* one */ = /* is */ 1",
        "b = : b or 1=1 -- and c = : c",
        "b = : b or 'a'='a'",
        "b = : b or ' x ' = ' x '",
        "b = : b or 2>1",
        "b = : b or 2 > 1 order by b",
        "b = : b or 1 <> 2",
        "b = : b or 1 != 2",
        "b = : b or not 1 = 2",
        "b = : b or not ( 1 = 2 )",
        "b = : b or true",
        "b = : b OR TRUE limit 5",
        "b = : b or 1",
        "b = : b or ( ( 3 = 3 ) )",
        "( b = : b or 3 = 3 )",
        "( b = : b ) or ( 'x' like 'x' )",
        "b = : b or 1 in ( 1 , 2 )",
        "b = : b or 1 between 0 and 2",
        "b = : b or 1 is not null",
        "b = : b or 1 + 1 = 2",
        "b = : b or b = b",
        "b = : b or 1.0 = 1",
        "b = : b or '1' = 1",
        "3=3 or b = : b",
        "( 3 = 3 ) or b = : b",
        "b = {} or 3 = 3",
        "b = % s or 3 = 3",
        "b = ? or 3 = 3",
        "false",
        "1=2",
        "( 1 = 2 )",
        "not true",
        "'a'='b'",
        "b = : b or ( 3 = 3",
        "b = : b or 'a'='a",
        "b = : b or 'a'='a' /*",
        "b = : b or 'a'='a' # and c = : c",
        "b = : b\\nor 'a'='a'",
        "b = : b\\nor 1=1",
        "b <> b",
    ],
)
def test_finds_every_condition_that_comes_to_the_same(condition: str) -> None:
    completion = f'rows = conn . execute ( " select a from t where {condition}" ) . fetchall ( )'
    assert has_tautology(completion)
    assert has_tautology(f"select a from t where {condition}")


@pytest.mark.parametrize(
    "completion",
    [
        """q = "select a from t where b = '" + b + "' or 'x'='x'" """,
        """q = "select a from t where b = " + b + " or 2 > 1" """,
        """q = "select a from t"\nq += " where 1 = 2" """,
    ],
)
def test_finds_it_in_a_piece_that_is_added_to_a_query(completion: str) -> None:
    assert has_tautology(completion)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "for 1=1",
        "or 1=10",
        "or 1=1.5",
        "or x1=1",
        "where 0=10",
        "where a = 1",
        "where 1=1",
        "order 1=1",
        "nowhere 0=1",
        "or 1",
        "if a or 'a' == 'a' :",
        "where = False",
    ],
)
def test_does_not_find_it_elsewhere(text: str) -> None:
    assert not has_tautology(text)


@pytest.mark.parametrize(
    "condition",
    [
        "b = : b",
        "b = : b or c = : c",
        "b = : b or c = 1",
        "b = 1 or b = 2",
        "b = : b or 1 = 2",
        "b = : b or false",
        "b = : b or not true",
        "b = : b or null",
        "b = : b or not null",
        "b = : b or 1 is 2",
        "b = : b or 1e",
        "b = ? or ? = ?",
        "b = : b or : b = : c",
        "b = : b or c in ( 1 , 2 )",
        "b = : b or c is null",
        "b = : b or c like '%'",
        "b = : b and 1 = 1",
        "1=1",
        "true",
        "b = : b or length ( c ) > 0",
        "b between 0 and 2 or c = : c",
        "b between : b and 2 or c between 1 and 3",
        "b = ' or 3 = 3 '",
        "or",
        "b or",
        "or or or",
    ],
)
def test_leaves_conditions_that_widen_nothing(condition: str) -> None:
    assert not has_tautology(f'rows = conn . execute ( " select a from t where {condition} " )')


@pytest.mark.parametrize(
    "hostile",
    [
        "or " * 300_000,
        "or" + " " * 900_000,
        "where" + " " * 450_000 + "0" + " " * 450_000,
        "or 1 =" * 150_000,
        "or '" + "1" * 900_000,
        "or ' " * 200_000,
        '" or b" ' * 100_000,
        '"select a from t where ' + "(" * 500_000,
        '"select a from t where b or ' + "( not " * 100_000,
        '"select a from t where ' + "b or " * 100_000 + '"',
        '"select a from t where ' + "b or (" * 100_000 + '"',
        '"select a from t where b or ' + "-" * 100_000,
        '"select a from t where b or ' + "case when " * 50_000,
        '"select a from t where b or /*" ' * 20_000,
        "select a from t where " + "x = 'y' or " * 50_000,
    ],
)
def test_takes_linear_time(hostile: str) -> None:
    started = time.process_time()
    assert not has_tautology(hostile)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    "text",
    [
        'q = "select a from t where b = : b limit 1 "',
        "SELECT a FROM t LIMIT  1 ;",
        "select a from t limit ( 1 )",
        "select a from t limit(1)",
        "select top(1) a from t",
        "select a from t fetch first 1 row only",
        "select a from t fetch first row only",
        "select top 1 a from t",
    ],
)
def test_finds_a_limit_to_the_first_row(text: str) -> None:
    assert has_first_row_limit(text)


@pytest.mark.parametrize(
    "text",
    [
        "limit 10",
        "limit 1 , 5",
        "limit 1.5",
        "limit1",
        "top(1, 5)",
        "limit : limit",
        "limit = 1",
        "unlimited 1",
        "desktop 1",
        "",
    ],
)
def test_leaves_other_limits(text: str) -> None:
    assert not has_first_row_limit(text)
