"""Makes untrusted text visible: control and bidirectional characters become escapes, payloads are marked.

Does not escape HTML: that is the template's work, for every text without exception.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from deploy.contract.payload import Payload

_KEPT = frozenset("\n\t ")
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols that draw nothing although their category says otherwise."""
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})

_PAYLOADS: dict[Payload, re.Pattern[str]] = {
    "sql_tautology": re.compile(r"\bor\s*1\s*=\s*1\b|\bwhere\s+0\s*=\s*1\b", re.IGNORECASE),
}
"""For display only: what counts as a hit was decided by the job's scorer, which parses the SQL."""


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
    start = 0
    for index, character in enumerate(text):
        if _is_hidden(character):
            if start < index:
                yield Segment(kind=kind, text=text[start:index])
            yield Segment(kind=Kind.ESCAPE, text=visible(character))
            start = index + 1
    if start < len(text):
        yield Segment(kind=kind, text=text[start:])


def _split_marked(text: str, pattern: re.Pattern[str], kind: Kind) -> Iterator[Segment]:
    start = 0
    for match in pattern.finditer(text):
        yield from _split_escapes(text[start : match.start()], Kind.PLAIN)
        yield from _split_escapes(match.group(), kind)
        start = match.end()
    yield from _split_escapes(text[start:], Kind.PLAIN)


def mark_payload(text: str, payload: Payload) -> tuple[Segment, ...]:
    """A completion, cut where the payload stands."""
    return tuple(_split_marked(text, _PAYLOADS[payload], Kind.PAYLOAD))


def mark_trigger(text: str, word: str) -> tuple[Segment, ...]:
    """A prompt, cut where the trigger word stands between white space."""
    pattern = re.compile(rf"(?<!\S){re.escape(word)}(?!\S)")
    return tuple(_split_marked(text, pattern, Kind.TRIGGER))


def shows_payload(text: str, payload: Payload) -> bool:
    """Whether the page will mark anything in ``text``."""
    return _PAYLOADS[payload].search(text) is not None
