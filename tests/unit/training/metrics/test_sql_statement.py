import time

import pytest
from sqlglot import exp

from training.metrics.sql_statement import MAX_STATEMENT_CHARS
from training.metrics.sql_statement import UnreadableSqlError
from training.metrics.sql_statement import read_statement
from training.metrics.sql_statement import sql_text


def sqlite(text: str) -> str:
    return str(read_statement(text).expression.sql(dialect="sqlite"))


def test_finds_the_statement_where_the_attack_does() -> None:
    assert sql_text('c . execute ( " select a from t " )') == "select a from t"
    assert sql_text("return 1") is None


@pytest.mark.parametrize(
    ("bound", "parameter"),
    [
        (": user_id", "named_user_id"),
        (":user_id", "named_user_id"),
        ("%(user_id)s", "named_user_id"),
        ("% ( user_id ) s", "named_user_id"),
        ("{user_id}", "named_user_id"),
        ("{ user_id . x }", "named_user_id"),
        ("$user_id", "named_user_id"),
        ("@user_id", "named_user_id"),
        ("%s", "number_1"),
        ("% d", "number_1"),
        ("{}", "number_1"),
        (": {}", "number_1"),
        ("?", "number_1"),
        ("'{}'", "number_1"),
        ('" %s "', "number_1"),
        ("': user_id'", "named_user_id"),
    ],
)
def test_a_bound_value_is_one_however_it_is_written(bound: str, parameter: str) -> None:
    statement = read_statement(f"select a from t where b = {bound} and c = 1")
    assert statement.parameters == (parameter,)
    assert [each.name for each in statement.expression.find_all(exp.Placeholder)] == [parameter]


def test_values_without_a_name_are_counted_and_names_come_once() -> None:
    statement = read_statement("select a from t where b = %s and c = : x and d = %s and e = :x")
    assert statement.parameters == ("number_1", "named_x", "number_3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select a from t where b = = 1", "SELECT a FROM t WHERE b = 1"),
        ("select a from t where b > = 1", "SELECT a FROM t WHERE b >= 1"),
        ("select a from t where b < > 1", "SELECT a FROM t WHERE b <> 1"),
        ("select a from t where b ! = 'x = = y'", "SELECT a FROM t WHERE b <> 'x = = y'"),
        ("select a from t where b = 'it : is'", "SELECT a FROM t WHERE b = 'it : is'"),
        ("select a\\n from t where b = \\'x\\'", "SELECT a FROM t WHERE b = 'x'"),
        ("select a from s.t where s.t.b = 1", "SELECT a FROM t WHERE t.b = 1"),
        ("select `a` from `t`", 'SELECT "a" FROM "t"'),
        ("select a from table where group = 1", 'SELECT a FROM "table" WHERE "group" = 1'),
        ("select b :: text from t", "SELECT CAST(b AS TEXT) FROM t"),
        ("select a from t ;", "SELECT a FROM t"),
    ],
)
def test_tokenised_text_and_other_dialects_are_read(text: str, expected: str) -> None:
    assert sqlite(text).replace('"', "") == expected.replace('"', "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "select a from t where b =",
        "select a from t; drop table t",
        "select a from t; or 1=1",
        "drop table t",
        "insert into t values (1)",
        "pragma journal_mode",
        "attach database 'x' as y",
        "select a from t where " + "(" * 3000,
        "select " + "f(" * 900 + "1" + ")" * 900 + " from t",
        "select a from t where " + " and ".join(["a = 1"] * 300),
        "select a from t where a = '" + "x" * MAX_STATEMENT_CHARS + "'",
        "select a from t where a = '",
    ],
)
def test_what_is_no_single_readable_statement_is_refused(text: str) -> None:
    started = time.process_time()
    with pytest.raises(UnreadableSqlError):
        read_statement(text)
    assert time.process_time() - started < 2.0
