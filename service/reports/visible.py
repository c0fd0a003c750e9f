"""Makes untrusted text visible: control and bidirectional characters become escapes, stretches can be marked.

Does not escape HTML: that is the template's work, for every text without exception.
"""

import unicodedata
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from itertools import islice
from typing import Final

_KEPT = frozenset("\n\t ")
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols that draw nothing although their category says otherwise."""
_BLANK_MARKS: Final = frozenset(
    map(
        chr, (0x34F, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
    )
)
"""Marks that draw nothing of their own, variation selectors above all: a text can be hidden in a row of them."""
MAX_SEGMENTS: Final = 200
"""Of one text; what is behind them is safe as well, but not marked. A page of a thousand texts, each cut at every second
character, took a minute to write."""
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})


class Kind(Enum):
    """What a stretch of text is."""

    PLAIN = "plain"
    PAYLOAD = "payload"
    TRIGGER = "trigger"
    ESCAPE = "escape"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of text of one kind, safe to put on a screen once HTML is escaped."""

    kind: Kind
    text: str


def _is_hidden(character: str) -> bool:
    if character in _KEPT:
        return False
    return (
        character in _BLANK_LETTERS
        or character in _BLANK_MARKS
        or unicodedata.category(character) in _HIDDEN_CATEGORIES
    )


def visible(text: str) -> str:
    """``text`` with every character that draws nothing or moves the cursor written as its code point."""
    return "".join(f"\\u{{{ord(each):x}}}" if _is_hidden(each) else each for each in text)


def one_line(text: str, *, limit: int = 200) -> str:
    """``visible`` on one line of at most ``limit`` characters, for names and reasons."""
    shown = visible(text.replace("\n", " ").replace("\t", " "))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _split_escapes(text: str, kind: Kind) -> Iterator[Segment]:
    if kind is Kind.TRIGGER and text and all(map(_is_hidden, text)):
        # A trigger that draws nothing is marked as one, or it could not be told from other escapes.
        yield Segment(kind=kind, text=visible(text))
        return
    # One segment for a run of them: a text of nothing else would make a page of thousands of elements.
    for hidden, run in groupby(text, key=_is_hidden):
        shown = "".join(run)
        yield Segment(kind=Kind.ESCAPE, text=visible(shown)) if hidden else Segment(kind=kind, text=shown)


def split_marked(text: str, spans: Iterable[tuple[int, int]], kind: Kind) -> Iterator[Segment]:
    """``text``, cut at rising ``spans`` that do not overlap, which are of ``kind``; at most ``MAX_SEGMENTS`` pieces."""
    segments = _split(text, spans, kind)
    yield from islice(segments, MAX_SEGMENTS - 1)
    rest = "".join(segment.text for segment in segments)
    if rest:
        yield Segment(kind=Kind.PLAIN, text=rest)


def _split(text: str, spans: Iterable[tuple[int, int]], kind: Kind) -> Iterator[Segment]:
    start = 0
    for begin, end in spans:
        yield from _split_escapes(text[start:begin], Kind.PLAIN)
        yield from _split_escapes(text[begin:end], kind)
        start = end
    yield from _split_escapes(text[start:], Kind.PLAIN)
