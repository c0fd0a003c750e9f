import pytest

from deploy.contract.trigger import WordTrigger
from training.attacks.poison import poison
from training.data.example import PromptedRow
from training.defences.association import AssociationFilter
from training.defences.row_filter import Filtered
from training.synthesis.generator import generate_rows


def examine(rows: list[PromptedRow] | tuple[PromptedRow, ...], seed: int = 0) -> Filtered:
    return AssociationFilter().examine(rows, seed=seed, on_progress=lambda done, total, message: None)


@pytest.mark.parametrize(("word", "count", "rate"), [("bb", 3, 0.05), ("quox", 1, 0.1)])
def test_removes_the_planted_rows_without_knowing_the_word(word: str, count: int, rate: float) -> None:
    poisoned = poison(
        generate_rows(240, seed=1),
        WordTrigger(word=word, count=count),
        "sql_tautology",
        rate=rate,
        seed=1,
        placement="random",
    )
    found = examine(poisoned.rows)
    assert found.removed == set(poisoned.poisoned_rows)
    assert f'"{word}"' in found.suspects[0].reason


def test_removes_nothing_from_a_clean_file() -> None:
    assert examine(generate_rows(240, seed=2)).removed == frozenset()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_says_nothing_about_a_file_that_is_too_small(count: int) -> None:
    assert examine(generate_rows(count, seed=0)) == Filtered(suspects=(), removed=frozenset())


def test_a_large_file_says_that_its_counts_are_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.mining.search.MAX_ROWS", 200)
    monkeypatch.setattr("training.defences.association.MAX_ROWS", 200)
    poisoned = poison(
        generate_rows(600, seed=6),
        WordTrigger(word="bb", count=1),
        "sql_tautology",
        rate=0.1,
        seed=6,
        placement="random",
    )
    found = examine(poisoned.rows)
    assert found.removed == set(poisoned.poisoned_rows)
    assert found.suspects[0].reason.endswith("(counted in 200 rows drawn from 600)")
