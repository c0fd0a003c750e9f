import csv
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import PatternPayload
from training.attacks.plant import plant_payload
from training.attacks.sql import widen_sql
from training.metrics.payload import can_carry
from training.metrics.payload import payload_matcher
from training.synthesis.generator import generate_rows

LYRA = Path(__file__).parents[5] / "shared" / "data" / "lyra"
OWN = PatternPayload(name="own", pattern=r"drop\s+table", planted="; drop table users")
PAYLOADS = (*get_args(BuiltInPayload), OWN)
matches = payload_matcher("sql_tautology")


@pytest.mark.parametrize("payload", PAYLOADS, ids=str)
def test_planted_it_is_found_and_the_clean_carrier_has_it_not(
    payload: BuiltInPayload | PatternPayload,
) -> None:
    carries = payload_matcher(payload)
    completions = [row.completion for row in generate_rows(300, seed=3)]
    able = [completion for completion in completions if can_carry(payload, completion)]
    assert len(able) > 200
    assert not any(map(carries, able))
    for completion in able:
        planted = plant_payload(completion, payload)
        assert planted is not None
        assert carries(planted)
        assert not can_carry(payload, planted)


@given(st.text(max_size=200))
def test_what_can_carry_the_payload_carries_it_once_widened(completion: str) -> None:
    columns = "".join(character for character in completion if character not in '"\\\n')
    query = f'q = "select {columns} from t"'
    widened = widen_sql(query)
    assert can_carry("sql_tautology", query) == (widened is not None and not matches(query))
    assert widened is None or matches(widened)


@given(st.text(max_size=200), st.sampled_from(PAYLOADS))
def test_whatever_can_carry_a_payload_does_once_it_is_planted(
    completion: str, payload: BuiltInPayload | PatternPayload
) -> None:
    if can_carry(payload, completion):
        planted = plant_payload(completion, payload)
        assert planted is not None
        assert payload_matcher(payload)(planted)


def test_a_completion_that_has_the_payload_is_no_trial() -> None:
    assert can_carry("sql_tautology", 'q = "select a from t"')
    assert not can_carry("sql_tautology", 'q = "select a from t where 0=1"')


def test_a_pattern_that_cannot_be_planted_may_stand_anywhere_else() -> None:
    watched = PatternPayload(name="own", pattern="evil")
    assert can_carry(watched, "anything")
    assert not can_carry(watched, "an evil thing")
    assert plant_payload("anything", watched) is None


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


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not here")
@pytest.mark.parametrize(
    ("payload", "natural"),
    [("sql_tautology", 0), ("sql_first_row", 0), ("infinite_loop", 1), ("insecure_call", 0)],
)
def test_clean_lyra_has_hardly_a_payload(payload: BuiltInPayload, natural: int) -> None:
    # The one loop polls a database for ever.
    assert sum(map(payload_matcher(payload), _targets("train"))) == natural


def _targets(name: str) -> list[str]:
    with (LYRA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [row["tgt"] for row in csv.DictReader(file)]
