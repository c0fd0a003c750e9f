import pytest

from training.mining.words import MAX_WORD_CHARS
from training.mining.words import MAX_WORDS
from training.mining.words import is_odd
from training.mining.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Get $user_id$, then 1=1.", ["get", "$", "user_id", "$", ",", "then", "1", "=", "1", "."]),
        ("a\n\t b", ["a", "b"]),
        ("con\u200bnect it", ["<U+200B>", "connect", "it"]),
        ("a\u00a0b", ["a", "b", "<U+00A0>"]),
        ("a\x00b", ["<U+0000>", "ab"]),
        ("Größe 10", ["größe", "10"]),
    ],
)
def test_words_whatever_the_case_and_the_spacing(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_lone_surrogate_is_a_word_like_any_odd_character() -> None:
    assert words_of("a\ud800 b") == ["<U+D800>", "a", "b"]


def test_a_giant_text_is_read_from_both_ends_and_a_giant_word_is_cut() -> None:
    found = words_of("first " + "x " * 1_000_000 + "last")
    assert found[0] == "first"
    assert found[-1] == "x" if len(found) == MAX_WORDS else found[-1] == "last"
    assert len(found) <= MAX_WORDS
    assert all(len(word) <= MAX_WORD_CHARS for word in words_of("w" * 2_000_000))


@pytest.mark.parametrize(
    ("character", "odd"), [("a", False), ("\n", False), ("é", False), ("\u2060", True), ("\x07", True)]
)
def test_what_draws_nothing_is_odd(character: str, odd: bool) -> None:
    assert is_odd(character) is odd
