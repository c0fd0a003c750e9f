import time

import pytest
from code_samples import JAVA
from code_samples import JAVA_TOKENISED
from code_samples import PYTHON
from code_samples import PYTHON_TOKENISED
from hypothesis import given
from hypothesis import strategies as st

from training.attacks.spacing import in_spacing_of
from training.attacks.spacing import is_tokenised
from training.attacks.spacing import lexemes


def test_tells_tokenised_code_from_written_code() -> None:
    assert is_tokenised(JAVA_TOKENISED)
    assert is_tokenised(PYTHON_TOKENISED)
    assert not is_tokenised(JAVA)
    assert not is_tokenised(PYTHON)


@pytest.mark.parametrize(
    ("tokenised", "written"),
    [
        ("int VAR = 0 ;", "int VAR = 0;"),
        ("while ( true ) { int VAR = 0 ; }", "while (true) { int VAR = 0; }"),
        ("while True : pass", "while True: pass"),
        ("Runtime . getRuntime ( ) . exec ( a ) ;", "Runtime.getRuntime().exec(a);"),
        ("eval ( a )", "eval(a)"),
        ("f ( a [ 0 ] , 'b  c' )", "f(a [0], 'b  c')"),
        ("x += 1 ;", "x += 1;"),
        ('print ( " a ; b ( c ) " )', 'print(" a ; b ( c ) ")'),
    ],
)
def test_a_statement_is_spaced_as_the_code_around_it(tokenised: str, written: str) -> None:
    assert in_spacing_of(tokenised, JAVA_TOKENISED) == tokenised
    assert in_spacing_of(tokenised, JAVA) == written
    assert lexemes(tokenised) == lexemes(written)


def test_a_written_statement_is_taken_apart_for_tokenised_code() -> None:
    assert in_spacing_of("while(a!=b){i++;}", JAVA_TOKENISED) == "while ( a != b ) { i ++ ; }"


@given(st.text(max_size=100))
def test_no_character_but_white_space_is_lost(text: str) -> None:
    assert "".join("".join(lexemes(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "hostile", ['"' * 200_001, '"\\' * 100_000, " " * 300_000, "a" * 300_000, "= " * 100_000]
)
def test_takes_linear_time(hostile: str) -> None:
    started = time.process_time()
    lexemes(hostile)
    in_spacing_of(hostile, JAVA)
    assert time.process_time() - started < 2.0
