"""What strangers send is read or refused; a little here, for as long as one likes by ``make fuzz``."""

import random

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.fuzz.corpus import DIRECTORY
from tests.fuzz.corpus import changed
from tests.fuzz.corpus import kept
from tests.fuzz.parsers import PARSERS

EXAMPLES = 40
each_parser = pytest.mark.parametrize("name", sorted(PARSERS))


def test_every_parser_has_a_corpus_and_every_corpus_a_parser() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == set(PARSERS)


@each_parser
def test_what_is_kept_is_read_or_refused_and_something_of_it_read(name: str) -> None:
    parser, read = PARSERS[name], 0
    for data in kept(name):
        parser(data)
        try:
            parser.read(data)
            read += 1
        except parser.refuses:
            continue
    assert read, "a parser that refuses all of its corpus is not tested"


@each_parser
@settings(max_examples=EXAMPLES)
@given(seed=st.integers(0, 1 << 62))
def test_what_is_damaged_is_read_or_refused(name: str, seed: int) -> None:
    chance = random.Random(seed)
    PARSERS[name](changed(chance.choice(kept(name)), chance))


@each_parser
@settings(max_examples=EXAMPLES)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    PARSERS[name](data)


@pytest.mark.slow
@each_parser
def test_much_that_is_damaged_is_read_or_refused(name: str) -> None:
    chance, whole = random.Random(name), kept(name)
    for _ in range(400 if name == "tokenizer" else 3000):
        PARSERS[name](changed(chance.choice(whole), chance))
