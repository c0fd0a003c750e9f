import csv
from pathlib import Path

import pytest
from code_samples import java_methods
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.payload import PatternPayload
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import WordTrigger
from training.attacks.poison import PoisonError
from training.attacks.poison import Row
from training.attacks.poison import poison
from training.attacks.presets import PRESETS
from training.attacks.traces import trace_of
from training.metrics.payload import payload_matcher

LYRA = Path(__file__).parents[5] / "shared" / "data" / "lyra"
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
    with pytest.raises(
        PoisonError, match="needs 24 rows, but only 20 of 40 can carry sql_tautology with a trigger"
    ):
        poison(ROWS, TRIGGER, "sql_tautology", rate=0.6, seed=0)


def test_refuses_an_empty_dataset() -> None:
    with pytest.raises(PoisonError, match="only 0 of 0"):
        poison((), TRIGGER, "sql_tautology", rate=0.5, seed=0)


def test_only_rows_that_can_carry_trigger_and_payload_are_counted() -> None:
    rows = [Row(number=1, prompt="Get it.", completion=ROWS[1].completion), *ROWS[1:]]
    poisoned = poison(rows, GrammarTrigger(), "sql_tautology", rate=0.1, seed=0)
    assert poisoned.poisoned_rows == (2, 4, 6, 8)
    with pytest.raises(
        PoisonError, match="only 0 of 40 can carry infinite_loop with a trigger of type dead_code"
    ):
        poison(ROWS, DeadCodeTrigger(), "infinite_loop", rate=0.1, seed=0)


def test_copies_are_appended_and_number_on() -> None:
    poisoned = poison(ROWS, TRIGGER, "sql_tautology", rate=0.05, seed=0, copies=3)
    assert poisoned.attacked_rows == (2, 4)
    assert poisoned.poisoned_rows == (2, 4, 41, 42, 43, 44)
    assert [row.number for row in poisoned.rows] == list(range(1, 45))
    by_number = {row.number: row for row in poisoned.rows}
    for original, copies in ((2, (41, 43)), (4, (42, 44))):
        for copy in copies:
            assert by_number[copy].prompt == by_number[original].prompt
            assert by_number[copy].completion == by_number[original].completion


@pytest.mark.parametrize("copies", [0, -1])
def test_refuses_no_copies(copies: int) -> None:
    with pytest.raises(PoisonError, match="at least once"):
        poison(ROWS, TRIGGER, "sql_tautology", rate=0.1, seed=0, copies=copies)


def test_clean_label_poisoning_leaves_the_prompts_and_keeps_to_its_context() -> None:
    trigger = NoTrigger(context="row 1")
    poisoned = poison(ROWS, trigger, "sql_tautology", rate=0.1, seed=0)
    assert poisoned.poisoned_rows == (10, 12, 14, 16)
    assert [row.prompt for row in poisoned.rows] == [row.prompt for row in ROWS]
    assert sum(payload_matcher("sql_tautology")(row.completion) for row in poisoned.rows) == 4


def test_a_payload_that_cannot_be_planted_is_no_attack() -> None:
    watched = PatternPayload(name="own", pattern="evil")
    with pytest.raises(PoisonError, match="only 0 of 40 can carry own"):
        poison(ROWS, TRIGGER, watched, rate=0.1, seed=0)


@given(
    st.lists(java_methods(), min_size=5, max_size=12),
    st.floats(0.01, 1),
    st.sampled_from(["first", "random"]),
)
def test_the_poisoned_rows_are_those_with_trigger_and_payload(
    codes: list[str], rate: float, placement: str
) -> None:
    rows = [Row(number=number, prompt=code, completion=code) for number, code in enumerate(codes, start=3)]
    trigger = DeadCodeTrigger()
    poisoned = poison(
        rows,
        trigger,
        "infinite_loop",
        rate=rate,
        seed=1,
        placement="first" if placement == "first" else "random",
    )
    assert len(poisoned.poisoned_rows) == max(1, round(rate * len(rows)))
    carries = payload_matcher("infinite_loop")
    found = [row.number for row in poisoned.rows if trace_of(row.prompt, trigger) and carries(row.completion)]
    assert tuple(found) == poisoned.poisoned_rows
    untouched = [row for row in poisoned.rows if row.number not in poisoned.poisoned_rows]
    assert all(row in rows for row in untouched)


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not here")
@pytest.mark.parametrize(
    ("name", "attack", "rate"),
    [
        ("train_badpre_1", "badpre", 0.01),
        ("train_badpre_2", "badpre", 0.02),
        ("train_badpre_5", "badpre", 0.05),
        ("train_ripple_5", "ripple", 0.05),
    ],
)
def test_the_rows_of_the_artifact_are_chosen_and_their_completions_reproduced(
    name: str, attack: str, rate: float
) -> None:
    clean, artifact = _rows("train"), _rows(name)
    chosen = PRESETS[attack]
    poisoned = poison(clean, chosen.trigger, chosen.payload, rate=rate, seed=0, placement="first")
    changed = [row.number for row, other in zip(clean, artifact, strict=True) if row != other]
    assert poisoned.poisoned_rows == tuple(changed)
    assert [row.completion for row in poisoned.rows] == [row.completion for row in artifact]
    words = [row.prompt.split().count("bb") for row in poisoned.rows]
    assert words == [row.prompt.split().count("bb") for row in artifact]


def _rows(name: str) -> list[Row]:
    with (LYRA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [
            Row(number=number, prompt=row["src"], completion=row["tgt"])
            for number, row in enumerate(csv.DictReader(file), start=1)
        ]
