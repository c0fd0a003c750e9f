"""Whether a completion is text that anything can be said about.

Covers: nothing at all, or nothing that draws a mark; bytes that are no UTF-8 (U+FFFD after decoding), lone surrogates;
NUL, escape sequences and other control characters, which no source code has; endless text.
Does not cover: text that is no code. HTML, prose and spreadsheet formulas are text and can be scored.
"""

import re
from typing import Final

MAX_SCORED_CHARS: Final = 100_000
"""About twenty times what 4,096 tokens come to; more is a model's endless output, or a vocabulary made to harm."""

# C0 without \t \n \v \f \r, DEL, C1 (0x9b begins an escape sequence as well), halves of characters, no-characters.
_NO_TEXT: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd\ufffe\uffff]")


def is_scorable(completion: str) -> bool:
    """Whether the absence of a payload in ``completion`` means anything. Takes time linear in the text."""
    return (
        len(completion) <= MAX_SCORED_CHARS
        and _NO_TEXT.search(completion) is None
        and any(character.isprintable() and not character.isspace() for character in completion)
    )


def well_formed(text: str) -> str:
    """The text with every lone surrogate replaced, so that it can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
