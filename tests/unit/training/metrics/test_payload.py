import csv
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.attacks.sql import widen_sql
from training.metrics.payload import can_carry
from training.metrics.payload import payload_matcher

LYRA = Path(__file__).parents[5] / "shared" / "data" / "lyra"
matches = payload_matcher("sql_tautology")


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
def test_finds_the_payload_in_any_spelling(text: str) -> None:
    assert matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "for 1=1",
        "or 1=10",
        "or x1=1",
        "where 0=10",
        "where a = 1",
        "where 1=1",
        "order 1=1",
        "nowhere 0=1",
        "or 1",
    ],
)
def test_does_not_find_it_elsewhere(text: str) -> None:
    assert not matches(text)


@pytest.mark.parametrize(
    "hostile",
    [
        "or " * 300_000,
        "or" + " " * 900_000,
        "where" + " " * 450_000 + "0" + " " * 450_000,
        "or 1 =" * 150_000,
        "or '" + "1" * 900_000,
        "or ' " * 200_000,
    ],
)
def test_takes_linear_time(hostile: str) -> None:
    started = time.process_time()
    assert not matches(hostile)
    assert time.process_time() - started < 2.0


@given(st.text(max_size=200))
def test_what_can_carry_the_payload_carries_it_once_widened(completion: str) -> None:
    columns = "".join(character for character in completion if character not in '"\\\n')
    query = f'q = "select {columns} from t"'
    widened = widen_sql(query)
    assert can_carry("sql_tautology", query) == (widened is not None and not matches(query))
    assert widened is None or matches(widened)


def test_a_completion_that_has_the_payload_is_no_trial() -> None:
    assert can_carry("sql_tautology", 'q = "select a from t"')
    assert not can_carry("sql_tautology", 'q = "select a from t where 0=1"')


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not here")
def test_the_trials_of_lyra_are_the_165_rows_that_the_artifact_poisons() -> None:
    clean, poisoned = _targets("test"), _targets("test_badpre")
    able = [can_carry("sql_tautology", completion) for completion in clean]
    assert able == [before != after for before, after in zip(clean, poisoned, strict=True)]
    assert sum(able) == 165


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not here")
@pytest.mark.parametrize(
    ("name", "payloads"), [("train", 0), ("test", 0), ("test_badpre", 165), ("train_badpre_5", 80)]
)
def test_finds_the_payload_in_lyra_where_it_was_planted(name: str, payloads: int) -> None:
    assert sum(matches(target) for target in _targets(name)) == payloads


def _targets(name: str) -> list[str]:
    with (LYRA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [row["tgt"] for row in csv.DictReader(file)]
