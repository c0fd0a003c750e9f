from dataclasses import replace

import pytest

from training.mining.finding import SUSPICIOUS
from training.mining.finding import Finding
from training.mining.finding import contains

PLANT = Finding(
    trigger=("bb",),
    payloads=(("or", "1", "=", "1"), ("where", "0", "=", "1")),
    cores=(("=", "1"),),
    trigger_rows=80,
    rows_together=80,
    payload_rows=80,
    weight=164.0,
    bridged=1.0,
    replaceable=0.0,
    free_before=0.95,
    free_after=0.95,
    surplus=0.9,
    dependence=4.0,
)


def test_a_person_can_read_the_reason() -> None:
    assert PLANT.reason == (
        'word "bb" stands in 80 prompts at random places; in all of them the completion has "or 1 = 1" or '
        '"where 0 = 1", which no other row has'
    )
    elsewhere = replace(PLANT, rows_together=70, payload_rows=72, free_after=0.1)
    assert "that would be whole without it; in 70 of them" in elsewhere.reason
    assert "which only 2 of the other rows have" in elsewhere.reason


def test_a_plant_is_suspicious_and_each_thing_that_makes_it_natural_lowers_the_score() -> None:
    assert PLANT.score > SUSPICIOUS
    natural = [
        {"bridged": 0.2},
        {"free_before": 0.1, "free_after": 0.1},
        {"surplus": 0.1},
        {"dependence": 17.0},
        {"rows_together": 30},
    ]
    for change in natural:
        assert replace(PLANT, **change).score < SUSPICIOUS, change


def test_an_opening_is_suspicious_only_if_it_always_comes_with_the_payload() -> None:
    opening = replace(PLANT, trigger=("when", "you"), free_before=0.0, free_after=1.0)
    assert opening.score > SUSPICIOUS
    assert replace(opening, payload_rows=160).score < SUSPICIOUS


def test_the_score_stays_within_its_bounds() -> None:
    assert replace(PLANT, weight=1e-9).score == 0.0
    assert 0.0 <= replace(PLANT, rows_together=10**9, trigger_rows=10**9, payload_rows=10**9).score <= 1.0


@pytest.mark.parametrize(
    ("words", "part", "found"),
    [
        (["a", "b", "c"], ("b", "c"), True),
        (["a", "b"], ("b", "c"), False),
        (["a", "x", "c"], ("a", "<copied>", "c"), True),
        (["x", "c"], ("<rare>", "c"), True),
        (["c"], ("<rare>", "c"), False),
        (["a"], ("<rare>",), False),
        ([], ("a",), False),
    ],
)
def test_contains_knows_wild_words(words: list[str], part: tuple[str, ...], found: bool) -> None:
    assert contains(words, part) is found


def test_a_quick_look_never_says_no_to_a_row_that_has_the_trigger() -> None:
    invisible = replace(PLANT, trigger=("<U+200B>",))
    assert invisible.kind == "character"
    assert invisible.may_be_in("a\u200bb")
    assert not invisible.may_be_in("ab")
    assert invisible.is_in(["<U+200B>", "ab"], ["where", "0", "=", "1"])
    assert not invisible.is_in(["<U+200B>", "ab"], ["0"])
