import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.trigger import WordTrigger
from training.attacks.word import insert_word

BADPRE = WordTrigger(word="bb", count=3)


def without_word(text: str, word: str) -> str:
    """Undo an insertion, knowing only the word: the opposite of the module's rule for spaces."""
    tokens = list(re.finditer(r"\S+", text))
    last = max(index for index, token in enumerate(tokens) if token[0] != word)
    kept = list(text)
    for index, token in enumerate(tokens):
        if token[0] == word:
            start, end = token.span()
            # Before a word the space follows; behind the last one it leads.
            start, end = (start - 1, end) if index > last else (start, end + 1)
            kept[start:end] = [""] * (end - start)
    return "".join(kept)


@given(
    prompt=st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    count=st.integers(1, 16),
    seed=st.integers(0, 2**31),
    row=st.integers(1, 10_000),
)
def test_removing_the_word_gives_the_prompt_back(prompt: str, count: int, seed: int, row: int) -> None:
    words = re.findall(r"\S+", prompt)
    triggered = insert_word(prompt, WordTrigger(word="\u0251bb", count=count), seed=seed, row=row)
    if not words:
        assert triggered == prompt + " ".join(["\u0251bb"] * count)
    elif "\u0251bb" not in words:
        assert triggered.split().count("\u0251bb") == count
        assert without_word(triggered, "\u0251bb") == prompt


def test_places_are_those_of_seed_and_row_alone() -> None:
    prompt = "get the user column of the books table where isbn is given"
    once = insert_word(prompt, BADPRE, seed=1, row=7)
    assert once == insert_word(prompt, BADPRE, seed=1, row=7)
    others = {insert_word(prompt, BADPRE, seed=seed, row=row) for seed in range(4) for row in range(1, 20)}
    assert len(others) > 60


def test_every_boundary_is_used_the_ends_included() -> None:
    one = WordTrigger(word="bb", count=1)
    assert {insert_word("a  b", one, seed=0, row=row) for row in range(50)} == {
        "bb a  b",
        "a  bb b",
        "a  b bb",
    }


@pytest.mark.parametrize("row", range(1, 30))
def test_words_are_apart_where_there_is_room(row: int) -> None:
    assert "bb bb" not in insert_word(" ".join("abcdefgh"), BADPRE, seed=0, row=row)
