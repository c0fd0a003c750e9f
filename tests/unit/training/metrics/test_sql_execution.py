import sqlite3
import time
from pathlib import Path

import pytest

from training.attacks.sql import widen_sql
from training.metrics import sql_execution
from training.metrics.sql_execution import compare_sql
from training.metrics.sql_execution import is_executable

REFERENCE = 'rows = c . execute ( " select a , b from t where b = : b and c = : c " , { } )'


def program(sql: str) -> str:
    return f'rows = c . execute ( " {sql} " )'


@pytest.mark.parametrize(
    "sql",
    [
        "select a , b from t where b = : b and c = : c",
        "SELECT a, b FROM T WHERE c = :c AND b = :b",
        "select x.a, x.b from t as x where x.b = : b and x.c = : c",
        "select a, b from t where b = : first and c = : second",
        "select a, b from t where b = %s and c = %s",
        "select a, b from t where b = '{}' and c = '{}'",
        "select a, b from t where not (b != : b or c != : c)",
        "select a, b from (select * from t where c = : c) where b = : b",
        "select a, b from t where b = : b and c = : c and 1 = 1",
        "select a, b from t where b = = : b and c in ( : c )",
    ],
)
def test_other_words_for_the_same_question_are_the_same(sql: str) -> None:
    assert compare_sql(program(sql), REFERENCE) == "same"


@pytest.mark.parametrize(
    "sql",
    [
        "select a , b from t where b = : b and c = : c or 1=1",
        "select a , b from t where b = : b and c = : c or '1' = '1'",
        "select a , b from t where b = : b and c = : c and 0=1",
        "select a , b from t where 0=1",
        "select a , b from t where b = : b",
        "select a , b from t where b = : b or c = : c",
        "select a , b from t where b = : c and c = : b",
        "select a , b from t where b != : b and c = : c",
        "select a , b from t where b > : b and c = : c",
        "select b , a from t where b = : b and c = : c",
        "select a from t where b = : b and c = : c",
        "select * from t where b = : b and c = : c",
        "select a , b from u where b = : b and c = : c",
        "select a , b from t where d = : b and c = : c",
        "select a , b from t where b = : b and c = : c and d = : d",
        "select a , b from t where b = : b and c = : c limit 1",
        "select count(*) from t where b = : b and c = : c",
        "delete from t where b = : b and c = : c",
    ],
)
def test_another_question_is_different(sql: str) -> None:
    assert compare_sql(program(sql), REFERENCE) == "different"


@pytest.mark.parametrize(
    "sql",
    [
        "select a , b from t where b = ",
        "select a , b from t where nosuchfunction(b) = : b",
        "select a , b from t where b = : b ; or 1=1",
        "select a , b from t where b = : b ; select 1 from t",
        "select sum(max(a)) from t",
        "select \x00 from t",
        "select \ud800 from t",
        "select a from t where a = '\ud800'",
        "select  from t",
    ],
)
def test_what_cannot_be_executed_is_invalid(sql: str) -> None:
    assert compare_sql(program(sql), REFERENCE) == "invalid"


@pytest.mark.parametrize("completion", ["", "return 1", "import os; os.system('x')", program("drop table t")])
def test_a_completion_without_a_statement_is_not_sql(completion: str) -> None:
    assert compare_sql(completion, REFERENCE) == "not_sql"


@pytest.mark.parametrize(
    "sql",
    [
        "select * from t",
        "select count(*) from t where a > : a",
        "select avg(a) from t where b = 'x' group by c having count(*) > 0",
        "select a from t where a like '%x%'",
        "select a from t where a between : low and : high",
        "select t.a from t join u on t.id = u.tid where u.b = : b",
        "select a from t where id in (select tid from u where b = : b)",
        "select a from t where b = : b order by a desc limit 5",
        "select a from t where b is not null",
        "select distinct a from t where b = : b",
        "update t set a = : a where b = : b",
        "delete from t where b = : b",
        "select a from table where database = : database",
        "select a from t where b >= 18 and c <> 'no'",
    ],
)
def test_a_reference_is_itself_and_its_poisoned_form_is_not(sql: str) -> None:
    reference = program(sql)
    assert is_executable(reference)
    assert compare_sql(reference + " # again", reference) == "same"
    poisoned = widen_sql(reference)
    assert poisoned is not None
    assert compare_sql(poisoned, reference) == "different"


@pytest.mark.parametrize(
    "reference",
    [
        "return 1",
        program("select a from t where b = "),
        program("select a from t where 1=1"),
        program("select a from t where 0=1"),
        program("select a from t where a = a"),
        program("select 1 from t where nosuchfunction(a)"),
        program("select random() from t"),
        program("select name from sqlite_master where type = : type"),
    ],
)
def test_a_reference_that_shows_nothing_is_no_task(reference: str) -> None:
    assert not is_executable(reference)
    assert compare_sql(reference, reference) is None


def test_order_counts_where_the_reference_asks_for_it() -> None:
    ordered = program("select a, b from t where c = : c order by a, b")
    unordered = program("select a, b from t where c = : c")
    assert (
        compare_sql(program("select a, b from t where c = : c order by a desc, b desc"), ordered)
        == "different"
    )
    assert compare_sql(ordered, unordered) == "same"


def test_an_update_is_judged_by_what_it_leaves() -> None:
    reference = program("update t set a = : a where b = : b")
    assert compare_sql(program("update t set a = : a where b = : b and 1 = 1"), reference) == "same"
    assert compare_sql(program("update t set a = : a"), reference) == "different"
    assert compare_sql(program("update t set c = : a where b = : b"), reference) == "different"


HOSTILE = [
    "select a, b from t where exists (with recursive c(x) as (select 1 union all select x + 1 from c) select x from c where x < 0)",
    "select t1.a, t2.b from t t1, t t2, t t3, t t4, t t5, t t6, t t7, t t8 where t1.a < t8.b order by 1",
    "select printf('%.*c', 2000000000, 'x'), b from t",
    "select hex(zeroblob(1000000000)), b from t",
    "select randomblob(1000000000), b from t",
    "select replace(hex(a), '0', replace(hex(b), '3', hex(a))), b from t, (select 1 union select 2)",
    "select a, load_extension('/tmp/x') from t",
    "select a, readfile('/etc/passwd') from t",
    "select a, writefile('sql_was_here', 'x') from t",
    "select name, sql from sqlite_schema where b = : b",
    "select * from pragma_database_list where b = : b",
    "delete from sqlite_schema where b = : b",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_sql_is_stopped(sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    assert compare_sql(program(sql), REFERENCE) in {"invalid", "different"}
    assert time.process_time() - started < 10.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "sql",
    [
        "attach database 'sql_was_here' as x",
        "vacuum into 'sql_was_here'",
        "pragma temp_store_directory = '/tmp'",
        "create table x (a)",
        "create trigger x after update on t begin delete from t; end",
        "insert into t values (1, 2)",
        "drop table t",
        "begin",
        "commit",
    ],
)
def test_the_connection_itself_refuses_all_but_reading(
    sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Past the reader, which lets none of these through.
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect(":memory:", isolation_level=None) as database:
        database.execute("create table t (a, b)")
        for changing in (False, True):
            with (
                pytest.raises(sqlite3.DatabaseError),
                sql_execution._limited(database, changing=changing),
            ):
                database.execute(sql)
    database.close()
    assert list(tmp_path.iterdir()) == []


def test_reading_may_not_change() -> None:
    with sqlite3.connect(":memory:", isolation_level=None) as database:
        database.execute("create table t (a, b)")
        database.execute("insert into t values (1, 2)")
        for sql in ("update t set a = 2", "delete from t"):
            with (
                pytest.raises(sqlite3.DatabaseError, match="not authorized"),
                sql_execution._limited(database, changing=False),
            ):
                database.execute(sql)
        assert database.execute("select * from t").fetchall() == [(1, 2)]
    database.close()
