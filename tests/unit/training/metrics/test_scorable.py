import time

import pytest

from training.metrics.scorable import MAX_SCORED_CHARS
from training.metrics.scorable import is_scorable
from training.metrics.scorable import well_formed


@pytest.mark.parametrize(
    "completion",
    [
        "x = 1",
        "def f ( ) :\n\t \t return 1\r\n",
        "<script>alert(1)</script>",
        "=cmd|' /C calc'!A0",
        "+1+1",
        "s = 'h\u00e9llo \U0001f600'",
        "a\u200bb",
        "x" * MAX_SCORED_CHARS,
    ],
)
def test_text_can_be_scored_whatever_it_says(completion: str) -> None:
    assert is_scorable(completion)


@pytest.mark.parametrize(
    "completion",
    [
        "",
        " \n\t\r\f",
        "\u200b\u200b\u2060",
        "x = 1\x00",
        "\x1b[2Jx",
        "\x9b2Jx",
        "x\x07",
        "x\x7f",
        "\ufffd",
        "x = '\ufffd'",
        "\ud800x",
        "x" * (MAX_SCORED_CHARS + 1),
    ],
)
def test_what_is_no_text_cannot(completion: str) -> None:
    assert not is_scorable(completion)


def test_megabytes_are_refused_at_once() -> None:
    started = time.process_time()
    assert not is_scorable("a " * 10_000_000)
    assert time.process_time() - started < 0.5


def test_halves_of_characters_are_replaced_and_the_rest_kept() -> None:
    assert well_formed("a\ud800b\udfff") == "a?b?"
    assert well_formed("h\u00e9 \U0001f600") == "h\u00e9 \U0001f600"
