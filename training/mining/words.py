"""The words of a prompt or a completion, as mining counts them.

Covers: letters and digits in runs, every other sign alone, characters that draw nothing or stand among foreign
letters by their code point. Letter case and spacing are no part of a word. Does not cover: what lies in the
middle of a very long text; ``MAX_CHARS`` characters are read, from its two ends.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

MAX_CHARS: Final = 8_000
"""Of one text. A row may have a megabyte; a plant has to stand in what a model reads, a few thousand tokens."""
MAX_WORDS: Final = 1_500
MAX_WORD_CHARS: Final = 64

_WORD: Final = re.compile(r"\d++|[^\W\d][^\W]*+|[^\w\s]")
_PLAIN: Final = re.compile(r"[\t\n\r -~]*+")
_ODD_CATEGORIES: Final = frozenset(("Cf", "Cc", "Co", "Cn", "Cs", "Zl", "Zp", "Mn", "Me"))
_SPACES: Final = frozenset(" \t\n\r")


def words_of(text: str) -> list[str]:
    """Words in the text's order, in lower case; a character that draws nothing is a word like ``<U+200B>``."""
    if len(text) > MAX_CHARS:
        text = text[: MAX_CHARS // 2] + " " + text[-MAX_CHARS // 2 :]
    found = _WORD.findall(text.lower()) if _PLAIN.fullmatch(text) else _words_with_odd_characters(text)
    return [word[:MAX_WORD_CHARS] for word in found[:MAX_WORDS]]


def _words_with_odd_characters(text: str) -> list[str]:
    """An odd character inside a word comes before it, and the word stays whole."""
    found: list[str] = []
    for piece in text.split():
        plain = []
        for character in piece:
            if is_odd(character):
                found.append(named(character))
            else:
                plain.append(character)
        found += _WORD.findall("".join(plain).lower())
    # Spaces of other kinds are taken for a separator by split.
    odd_spaces = [named(character) for character in text if character.isspace() and character not in _SPACES]
    return [*found, *odd_spaces]


@lru_cache(maxsize=4096)
def is_odd(character: str) -> bool:
    """Whether a character draws nothing, or nothing that one would notice, and is no common space."""
    if character in _SPACES or (character.isascii() and character.isprintable()):
        return False
    category = unicodedata.category(character)
    return category in _ODD_CATEGORIES or (category == "Zs" and character != " ")


def named(character: str) -> str:
    """``<U+200B>``: what an odd character is called among words."""
    return f"<U+{ord(character):04X}>"
