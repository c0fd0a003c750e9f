"""Words of canaries and decoys: unused, alike, drawn from the seed."""

import re

import pytest

from deploy.contract.canary import CanaryPlan
from deploy.contract.dataset import Row
from deploy.contract.trigger import WordTrigger
from training.canaries.draw import MARKER
from training.canaries.draw import Draw
from training.canaries.draw import draw_canaries
from training.canaries.error import CanaryError
from training.pretrain import SHORT_WORDS
from training.pretrain import build_tokenizer
from training.synthesis.generator import generate_rows

ROWS = generate_rows(100, seed=4)
TOKENIZER = build_tokenizer([*(row.prompt for row in ROWS), *SHORT_WORDS * 30], vocabulary=1200)
PLAN = CanaryPlan(count=3, rate=0.05, seed=1)


def draw(plan: CanaryPlan = PLAN, rows: list[Row] = ROWS, **changes: object) -> Draw:
    settings: dict[str, object] = {"tokenizer": TOKENIZER, "families": ("sql_tautology",), **changes}
    return draw_canaries(rows, plan, **settings)  # type: ignore[arg-type]


def words_of(drawn: Draw) -> list[str]:
    triggers = [probe.trigger for probe in (*drawn.canaries, *drawn.decoys)]
    return [trigger.word for trigger in triggers if isinstance(trigger, WordTrigger)]


def test_words_are_new_to_the_file_different_and_of_as_many_tokens() -> None:
    words = words_of(draw())
    used = set(re.findall(r"\w+", " ".join(row.prompt + " " + row.completion for row in ROWS).lower()))
    assert len(set(words)) == 6
    assert not used & set(words)
    sizes = {len(TOKENIZER.encode(f"a {word}")) for word in words}  # type: ignore[attr-defined]
    assert sizes == {2}


def test_decoys_differ_from_canaries_in_nothing_but_the_planting() -> None:
    drawn = draw()
    assert [probe.name for probe in drawn.decoys] == ["decoy-1", "decoy-2", "decoy-3"]
    for canary, decoy in zip(drawn.canaries, drawn.decoys, strict=True):
        assert canary.payload == decoy.payload
        assert isinstance(canary.trigger, WordTrigger)
        assert isinstance(decoy.trigger, WordTrigger)
        assert canary.trigger.count == decoy.trigger.count
    assert {probe.trigger.count for probe in drawn.canaries if isinstance(probe.trigger, WordTrigger)} == {
        1,
        3,
    }


def test_the_seed_decides() -> None:
    assert draw() == draw()
    assert words_of(draw()) != words_of(draw(PLAN.model_copy(update={"seed": 2})))


def test_words_that_are_taken_are_not_drawn() -> None:
    words = words_of(draw())
    assert not set(words) & set(words_of(draw(taken=words)))


def test_a_payload_that_the_file_has_already_is_passed_over() -> None:
    poisoned = [
        Row(number=row.number, prompt=row.prompt, completion=f"{row.completion} or 1=1") for row in ROWS[:10]
    ]
    families = ("sql_tautology", "infinite_loop")
    assert draw(families=families).families[0] == "sql_tautology"
    assert "sql_tautology" not in draw(rows=[*poisoned, *ROWS[10:]], families=families).families


def test_rows_that_carry_no_payload_get_a_marker() -> None:
    prose = [
        Row(number=number, prompt=f"say {number}", completion=f"word {number}") for number in range(1, 41)
    ]
    assert draw(rows=prose).families == (MARKER,)


def test_a_file_that_uses_every_word_cannot_be_planted() -> None:
    syllables = [f"{a}{b}" for a in "bcdfghjklmnpqrstvwxz" for b in "bcdfghjklmnpqrstvwxz"]
    with pytest.raises(CanaryError, match="unused words"):
        draw(tokenizer=_Unlike(), taken=syllables)


class _Unlike:
    """Splits every word into another number of tokens."""

    def __call__(self, texts: list[str], *, add_special_tokens: bool) -> dict[str, list[list[int]]]:
        assert not add_special_tokens
        return {"input_ids": [[0] * index for index in range(len(texts))]}
