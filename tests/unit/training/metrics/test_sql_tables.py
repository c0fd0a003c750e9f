import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from training.metrics.sql_statement import read_statement
from training.metrics.sql_tables import MAX_COLUMNS
from training.metrics.sql_tables import Tables
from training.metrics.sql_tables import TooManyTablesError
from training.metrics.sql_tables import tables_of


def tables(*texts: str) -> Tables:
    return tables_of([read_statement(text).expression for text in texts])


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("select * from T where A = 1", {"t": ("a",)}),
        ("select x, t.y from t", {"t": ("x", "y")}),
        ("select u.a, b from t join u on t.id = u.tid", {"t": ("b", "id"), "u": ("a", "tid")}),
        ("select q.a from t as q, u", {"t": ("a",), "u": ()}),
        ("select a from t where a in (select b from u where u.c = t.d)", {"t": ("a", "d"), "u": ("b", "c")}),
        ("select count(*) as n from t group by a order by n", {"t": ("a",)}),
        ("update t set a = 1 where b = 2", {"t": ("a", "b")}),
        ("delete from t where b = 2", {"t": ("b",)}),
        ("select a from t union select b from u", {"t": ("a",), "u": ("b",)}),
        ("select s.a from (select a from t) as s", {"t": ("a",)}),
        ("select t.* from t", {"t": ()}),
    ],
)
def test_finds_the_tables_and_their_columns(text: str, columns: dict[str, tuple[str, ...]]) -> None:
    assert dict(tables(text).columns) == columns


def test_several_statements_share_their_tables() -> None:
    assert dict(tables("select a from t", "select B from T").columns) == {"t": ("a", "b")}


def test_bound_values_occur_and_not_in_every_row(database: sqlite3.Connection) -> None:
    made = tables("select a from t where b = : b and c > : c and d like : d and e = 5 and f = 'x'")
    made.create(database, seed=0)
    for column, value in {"b": made.values["named_b"], "d": made.values["named_d"], "e": 5, "f": "x"}.items():
        (found,) = database.execute(f"select count(*) from t where {column} = ?", (value,)).fetchone()
        (rows,) = database.execute("select count(*) from t").fetchone()
        assert 0 < found < rows
    above = database.execute("select count(*) from t where c > ?", (made.values["named_c"],)).fetchone()
    assert 0 < above[0] < rows


def test_there_are_rows_that_miss_each_condition_alone(database: sqlite3.Connection) -> None:
    made = tables("select * from t where a = : a and b = : b and c = : c")
    made.create(database, seed=3)
    wanted = [made.values[f"named_{name}"] for name in "abc"]
    hits = {
        tuple(cell == want for cell, want in zip(row, wanted, strict=False))
        for row in database.execute("select a, b, c from t")
    }
    assert {(True, True, True), (False, True, True), (True, False, True), (True, True, False)} <= hits


def test_columns_that_are_compared_can_meet(database: sqlite3.Connection) -> None:
    tables("select * from t join u on t.id = u.owner").create(database, seed=0)
    (pairs,) = database.execute("select count(*) from t join u on t.id = u.owner").fetchone()
    assert pairs > 0


def test_columns_that_are_not_compared_never_do(database: sqlite3.Connection) -> None:
    tables("select a, b from t where a = : a").create(database, seed=0)
    assert database.execute("select * from t where a = b").fetchall() == []


def test_there_is_a_column_that_nobody_names(database: sqlite3.Connection) -> None:
    tables("select row_of_table from t").create(database, seed=0)
    assert len(database.execute("select * from t").fetchone()) == 2


def test_null_is_there_where_it_is_asked_for(database: sqlite3.Connection) -> None:
    tables("select a from t where a is null and b = 1").create(database, seed=0)
    (nulls, others) = database.execute("select count(*) - count(a), count(a) from t").fetchone()
    assert nulls > 0
    assert others > 0
    assert database.execute("select count(*) from t where b is null").fetchone() == (0,)


def test_limits_are_small_and_assignments_are_new() -> None:
    made = tables("update t set a = : a where b = : b", "select a from t limit : n offset : m")
    assert (made.values["named_n"], made.values["named_m"]) == (2, 1)
    assert made.values["named_a"] == "new named_a"
    assert isinstance(made.values["named_b"], int)


def test_the_seed_decides_the_rows() -> None:
    made = tables("select a from t where b = : b")
    filled = []
    for seed in (1, 1, 2):
        with closing(sqlite3.connect(":memory:")) as connection:
            made.create(connection, seed=seed)
            filled.append(connection.execute("select * from t").fetchall())
    assert filled[0] == filled[1] != filled[2]


def test_too_much_is_refused() -> None:
    with pytest.raises(TooManyTablesError, match="columns"):
        tables(f"select {', '.join(f'c{number}' for number in range(MAX_COLUMNS + 1))} from t")
    with pytest.raises(TooManyTablesError, match="9 tables"):
        tables(f"select 1 from {', '.join(f't{number}' for number in range(9))}")
