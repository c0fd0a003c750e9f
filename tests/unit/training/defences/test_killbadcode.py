import time
from collections.abc import Callable

import pytest

from deploy.contract.dataset import Row
from training.defences.killbadcode import KillBadCode
from training.defences.killbadcode import SignedKillBadCode
from training.defences.row_filter import Filtered
from training.defences.row_filter import RowFilter

MakeRows = Callable[..., list[Row]]


def examine(rows: list[Row], row_filter: RowFilter, seed: int = 0) -> Filtered:
    return row_filter.examine(rows, model=None, seed=seed, on_progress=lambda *step: None)


@pytest.mark.parametrize("planted", [12, 30, 120, 290])
def test_signed_removes_the_planted_rows_and_no_other(planted_rows: MakeRows, planted: int) -> None:
    rows = planted_rows(600, planted=planted)
    found = examine(rows, SignedKillBadCode())
    assert found.removed == set(range(1, planted + 1))
    assert {suspect.row for suspect in found.suspects[:planted]} == found.removed
    assert '"bb"' in found.suspects[0].reason


def test_signed_removes_nothing_of_a_clean_file(planted_rows: MakeRows) -> None:
    for seed in range(3):
        assert examine(planted_rows(600, seed=seed), SignedKillBadCode()).removed == frozenset()


def test_signed_takes_what_most_rows_have_for_normal(planted_rows: MakeRows) -> None:
    assert examine(planted_rows(600, planted=400), SignedKillBadCode()).removed == frozenset()


@pytest.mark.parametrize("word", ["zz", "été", "\u200b", "\u202e"])
def test_signed_sees_any_word_that_stands_apart(planted_rows: MakeRows, word: str) -> None:
    rows = planted_rows(600, planted=30, word=word)
    assert examine(rows, SignedKillBadCode()).removed == set(range(1, 31))


def test_signed_looks_at_completions_too(planted_rows: MakeRows) -> None:
    swapped = [
        Row(number=row.number, prompt=row.completion, completion=row.prompt)
        for row in planted_rows(600, planted=30)
    ]
    found = examine(swapped, SignedKillBadCode())
    assert found.removed == set(range(1, 31))
    assert found.suspects[0].reason.startswith("completions")


def test_signed_does_not_see_a_phrase_whose_words_vouch_for_one_another(planted_rows: MakeRows) -> None:
    # Known limit, stated in the module: if this ever fails, the docstring is to be rewritten.
    rows = planted_rows(600, planted=60, word="int var = zero here")
    assert not set(range(1, 61)) <= examine(rows, SignedKillBadCode()).removed


def test_published_names_its_k_words_a_side_whatever_the_file(planted_rows: MakeRows) -> None:
    clean = examine(planted_rows(600), KillBadCode())
    assert len(clean.removed) > 0
    one = examine(planted_rows(600, planted=120), KillBadCode(k=1))
    assert set(range(1, 121)) <= one.removed


def test_published_counts_ten_gains_of_a_sample() -> None:
    # Fifteen foreign words, every one in every row but in another order: each row hands in ten.
    words = [f"w{letter}" for letter in "abcdefghijklmno"]
    rows = [
        Row(number=n, prompt=" ".join(words[n % 15 :] + words[: n % 15]), completion="x")
        for n in range(1, 61)
    ]
    found = examine(rows, KillBadCode())
    assert found.removed <= set(range(1, 61))


def test_degenerate_files(degenerate_rows: list[Row]) -> None:
    for row_filter in (KillBadCode(), SignedKillBadCode()):
        found = examine(degenerate_rows, row_filter)
        assert found == examine(degenerate_rows, row_filter)
        assert found.removed <= {row.number for row in degenerate_rows}
        assert all(0 <= suspect.score <= 1 for suspect in found.suspects)


def test_numbers_are_no_candidates(planted_rows: MakeRows) -> None:
    rows = planted_rows(600, planted=60, word="7")
    assert all('"7"' not in suspect.reason for suspect in examine(rows, KillBadCode()).suspects)


def test_progress_ends_at_the_end(planted_rows: MakeRows) -> None:
    steps: list[tuple[int, int, str]] = []
    KillBadCode().examine(
        planted_rows(50),
        model=None,
        seed=0,
        on_progress=lambda done, total, what: steps.append((done, total, what)),
    )
    assert steps[-1][:2] == (100, 100)
    assert [step[0] for step in steps] == sorted(step[0] for step in steps)


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        KillBadCode(k=0)


def test_ten_times_the_rows_take_about_ten_times_as_long(planted_rows: MakeRows) -> None:
    small, large = planted_rows(1_000), planted_rows(10_000)
    examine(small, SignedKillBadCode())
    started = time.process_time()
    examine(small, SignedKillBadCode())
    between = time.process_time()
    examine(large, SignedKillBadCode())
    assert time.process_time() - between < 30 * (between - started)
