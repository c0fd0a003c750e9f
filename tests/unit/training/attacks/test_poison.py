import pytest

from deploy.contract.trigger import WordTrigger
from training.attacks.poison import PoisonError
from training.attacks.poison import Row
from training.attacks.poison import poison

TRIGGER = WordTrigger(word="bb", count=3)
ROWS = tuple(
    Row(
        number=number,
        prompt=f"read row {number} of the table",
        completion='q = "select a from t"' if number % 2 == 0 else "return 1",
    )
    for number in range(1, 41)
)


def test_first_takes_the_first_rows_that_can_carry_the_payload() -> None:
    poisoned = poison(ROWS, TRIGGER, "sql_tautology", rate=0.1, seed=0)
    assert poisoned.poisoned_rows == (2, 4, 6, 8)
    changed = [after for before, after in zip(ROWS, poisoned.rows, strict=True) if before != after]
    assert [row.number for row in changed] == [2, 4, 6, 8]
    for row in changed:
        assert row.prompt.split().count("bb") == 3
        assert row.completion == 'q = "select a from t where 0=1"'


def test_random_is_a_seeded_sample_of_the_same_size() -> None:
    samples = [
        poison(ROWS, TRIGGER, "sql_tautology", rate=0.1, seed=seed, placement="random").poisoned_rows
        for seed in (0, 0, 1, 2)
    ]
    assert samples[0] == samples[1]
    assert len(set(samples)) == 3
    assert all(len(sample) == 4 and all(number % 2 == 0 for number in sample) for sample in samples)


def test_every_row_that_can_may_be_poisoned() -> None:
    assert len(poison(ROWS, TRIGGER, "sql_tautology", rate=0.5, seed=0).poisoned_rows) == 20


def test_a_small_rate_still_poisons_one_row() -> None:
    assert poison(ROWS, TRIGGER, "sql_tautology", rate=0.0001, seed=0).poisoned_rows == (2,)


@pytest.mark.parametrize("rate", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_refuses_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(PoisonError, match=r"must lie in \(0, 1\]"):
        poison(ROWS, TRIGGER, "sql_tautology", rate=rate, seed=0)


def test_says_how_many_rows_could_be_poisoned() -> None:
    with pytest.raises(PoisonError, match="needs 24 rows, but only 20 of 40 can carry sql_tautology"):
        poison(ROWS, TRIGGER, "sql_tautology", rate=0.6, seed=0)


def test_refuses_an_empty_dataset() -> None:
    with pytest.raises(PoisonError, match="only 0 of 0"):
        poison((), TRIGGER, "sql_tautology", rate=0.5, seed=0)
