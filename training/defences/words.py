"""Words of a text with their places, so that a text can be given back without some of them.

Two notions: what stands between blanks (BKI and ONION, as in the DeCE artifact), and lexical words, where brackets,
operators and every other sign are words of their own (KillBadCode, in place of its code tokenizer).
"""

import re
from collections.abc import Collection
from collections.abc import Sequence
from typing import Final

_BLANK_SEPARATED: Final = re.compile(r"\S++")
_LEXICAL: Final = re.compile(r"\w++|[^\w\s]")

Span = tuple[int, int]


def word_spans(text: str) -> list[Span]:
    """Where each blank-separated word begins and ends."""
    return [match.span() for match in _BLANK_SEPARATED.finditer(text)]


def split_words(text: str) -> list[str]:
    """Blank-separated words."""
    return _BLANK_SEPARATED.findall(text)


def lexical_words(text: str) -> list[str]:
    """Runs of letters, digits and underscores; every other visible character alone."""
    return _LEXICAL.findall(text)


def without_words(text: str, spans: Sequence[Span], dropped: Collection[int]) -> str:
    """The text without the words of these indexes; each takes the blanks behind it along, the last those before it."""
    pieces: list[str] = []
    written = 0
    for index in sorted(dropped):
        start, end = spans[index]
        pieces.append(text[written:start])
        is_last = index + 1 == len(spans)
        written = end if is_last else spans[index + 1][0]
        if is_last:
            # What is left may end in the blanks of a word that is gone: they go as well.
            pieces = ["".join(pieces).rstrip()]
    return "".join(pieces) + text[written:]
