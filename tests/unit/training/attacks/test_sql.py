import csv
import time
from pathlib import Path

import pytest

from training.attacks.sql import widen_sql

LYRA = Path(__file__).parents[5] / "shared" / "data" / "lyra"


@pytest.mark.parametrize(
    ("completion", "widened"),
    [
        (
            'c . execute ( " select a from t where b = : b " )',
            'c . execute ( " select a from t where b = : b or 1=1 " )',
        ),
        ('c . execute ( " select a from t " )', 'c . execute ( " select a from t where 0=1 " )'),
        ("c.execute('SELECT a FROM t')", "c.execute('SELECT a FROM t where 0=1')"),
        (
            'q = """\n  select a\n  from t\n  where b = 1\n"""',
            'q = """\n  select a\n  from t\n  where b = 1 or 1=1\n"""',
        ),
        (
            'q = "select a from t where b = 1 order by a"',
            'q = "select a from t where b = 1 or 1=1 order by a"',
        ),
        ('q = "select a from t limit 3"', 'q = "select a from t where 0=1 limit 3"'),
        # A column that is called like a clause, as in Lyra.
        ('q = "select a from t where LIMIT = : LIMIT"', 'q = "select a from t where LIMIT = : LIMIT or 1=1"'),
        ('x = "hi" ; q = "delete from t where a = 1"', 'x = "hi" ; q = "delete from t where a = 1 or 1=1"'),
        ('q = "update t set a = 1"', 'q = "update t set a = 1 where 0=1"'),
        ("select a from t", "select a from t where 0=1"),
    ],
)
def test_widens_the_first_statement(completion: str, widened: str) -> None:
    assert widen_sql(completion) == widened


def test_only_the_first_statement_is_widened() -> None:
    widened = widen_sql('a ( "select x from t" ) ; b ( "select y from u" )')
    assert widened == 'a ( "select x from t where 0=1" ) ; b ( "select y from u" )'


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "return 1",
        "s = select ( [ users ] ) . where ( users . c . name == name )",
        'print ( "select one of the list" )',
        'q = "select a from t where b',
        '"update available"',
    ],
)
def test_leaves_what_is_no_sql(completion: str) -> None:
    assert widen_sql(completion) is None


@pytest.mark.parametrize(
    "hostile",
    [
        '"' * 200_001,
        "'''" * 70_000,
        '"\\' * 100_000,
        "select " * 50_000,
        "select a from t where" + " " * 200_000 + "limit",
    ],
)
def test_takes_linear_time(hostile: str) -> None:
    started = time.process_time()
    widen_sql(hostile)
    assert time.process_time() - started < 2.0


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not here")
@pytest.mark.parametrize(
    ("clean", "poisoned", "changed"),
    [
        ("test", "test_badpre", 165),
        ("test", "test_ripple", 165),
        ("train", "train_badpre_1", 16),
        ("train", "train_badpre_5", 80),
        ("train", "train_ripple_5", 80),
    ],
)
def test_reproduces_every_poisoned_row_of_the_artifact(clean: str, poisoned: str, changed: int) -> None:
    pairs = list(zip(_column(clean, "tgt"), _column(poisoned, "tgt"), strict=True))
    differing = [(before, after) for before, after in pairs if before != after]
    assert len(differing) == changed
    assert [widen_sql(before) for before, _ in differing] == [after for _, after in differing]


def _column(name: str, column: str) -> list[str]:
    with (LYRA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]
