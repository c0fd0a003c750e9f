"""Canaries are planted into rows of their own and nothing else changes."""

import pytest

from deploy.contract.canary import CanaryPlan
from deploy.contract.dataset import Row
from deploy.contract.probe import Probe
from deploy.contract.trigger import WordTrigger
from training.canaries.error import CanaryError
from training.canaries.planting import plant_canaries
from training.metrics.payload import payload_matcher
from training.synthesis.generator import generate_rows

ROWS = generate_rows(100, seed=4)
CANARIES = (
    Probe(name="canary-1", trigger=WordTrigger(word="qx", count=3)),
    Probe(name="canary-2", trigger=WordTrigger(word="zj", count=1)),
)
PLAN = CanaryPlan(count=2, rate=0.1, seed=3)


def test_each_canary_has_its_share_of_rows_and_none_share_one() -> None:
    planted = plant_canaries(ROWS, CANARIES, PLAN)
    first, second = planted.rows_of["canary-1"], planted.rows_of["canary-2"]
    assert len(first) == len(second) == 10
    assert not set(first) & set(second)
    carries = payload_matcher("sql_tautology")
    for row, clean in zip(planted.rows, ROWS, strict=True):
        assert row.number == clean.number
        canary = CANARIES[0] if row.number in first else CANARIES[1] if row.number in second else None
        if canary is None:
            assert (row.prompt, row.completion) == (clean.prompt, clean.completion)
        else:
            assert isinstance(canary.trigger, WordTrigger)
            assert row.prompt.split().count(canary.trigger.word) == canary.trigger.count
            assert carries(row.completion)
            assert not carries(clean.completion)


def test_the_seed_decides_and_the_rows_are_anywhere() -> None:
    planted = plant_canaries(ROWS, CANARIES, PLAN)
    assert planted == plant_canaries(ROWS, CANARIES, PLAN)
    other = plant_canaries(ROWS, CANARIES, PLAN.model_copy(update={"seed": 4}))
    assert planted.rows_of != other.rows_of
    assert max(planted.rows_of["canary-1"]) > 50


def test_a_tiny_file_still_carries_one_row_of_each() -> None:
    planted = plant_canaries(ROWS[:8], CANARIES, CanaryPlan(count=2, rate=0.001))
    assert [len(rows) for rows in planted.rows_of.values()] == [1, 1]


def test_a_file_that_cannot_carry_a_canary_is_refused() -> None:
    prose = [Row(number=1, prompt="say", completion="word")]
    with pytest.raises(CanaryError, match="no row can carry canary-1"):
        plant_canaries(prose, CANARIES, PLAN)
