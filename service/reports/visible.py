"""Makes untrusted text visible: control and bidirectional characters become escapes, stretches can be marked.

Does not escape HTML: that is the template's work, for every text without exception.
"""

import unicodedata
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_KEPT = frozenset("\n\t ")
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols that draw nothing although their category says otherwise."""
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
    return character in _BLANK_LETTERS or unicodedata.category(character) in _HIDDEN_CATEGORIES


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
    start = 0
    for index, character in enumerate(text):
        if _is_hidden(character):
            if start < index:
                yield Segment(kind=kind, text=text[start:index])
            yield Segment(kind=Kind.ESCAPE, text=visible(character))
            start = index + 1
    if start < len(text):
        yield Segment(kind=kind, text=text[start:])


def split_marked(text: str, spans: Iterable[tuple[int, int]], kind: Kind) -> Iterator[Segment]:
    """``text``, cut at rising ``spans`` that do not overlap, which are of ``kind``."""
    start = 0
    for begin, end in spans:
        yield from _split_escapes(text[start:begin], Kind.PLAIN)
        yield from _split_escapes(text[begin:end], kind)
        start = end
    yield from _split_escapes(text[start:], Kind.PLAIN)
