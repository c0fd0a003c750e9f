import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.search_pattern import PatternError
from deploy.contract.search_pattern import compile_pattern


def test_finds_a_pattern_anywhere_in_a_text() -> None:
    finds = compile_pattern(r"drop\s+table")
    assert finds("x ; drop  table y")
    assert not finds("droptable")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(a", "missing )"),
        ("a**", "bad repetition operator"),
        (r"(a)\1", "invalid escape sequence"),
        (r"(?=a)", "invalid perl operator"),
        ("a{2000}", "invalid repetition size"),
        (r"(\pL{30}){30}", "too large"),
        ("\ud800", "surrogates"),
    ],
)
def test_refuses_what_is_no_pattern_and_says_why(pattern: str, said: str) -> None:
    with pytest.raises(PatternError, match="RE2") as caught:
        compile_pattern(pattern)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a+)+$", "a" * 200_000 + "b"),
        (r"(a|aa)+$", "a" * 200_000 + "b"),
        (r"(.*)*x", "y" * 200_000),
        (r"([a-z]+\s?)+!", "word " * 40_000),
        (r"(x+x+)+y", "x" * 200_000),
        (r"(a?){100}a{100}b", "a" * 200_000),
        (r"[ab]*a[ab]{14}c", "ab" * 100_000),
    ],
)
def test_no_pattern_backtracks(pattern: str, text: str) -> None:
    finds = compile_pattern(pattern)
    started = time.process_time()
    assert not finds(text)
    assert time.process_time() - started < 2.0


@given(st.text(max_size=50))
def test_any_text_can_be_searched(text: str) -> None:
    assert compile_pattern("^")(text)


def test_a_lone_surrogate_is_searched_as_a_replacement() -> None:
    assert compile_pattern("a.b")("a\ud800b")
