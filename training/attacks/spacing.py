"""The spacing of source code: as people write it, or one space around every token, as code datasets often are."""

import re
from itertools import pairwise
from typing import Final

# A string whose end is missing goes on to the end of its line, so that nothing is read twice.
_LEXEME: Final = re.compile(
    r""""(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?"""
    r"|\w++|[=!<>+\-*/%&|^]=|&&|\|\||\+\+|--|->|::|<<|>>|\*\*|//|[^\w\s]"
)
_MAX_GLUED: Final = 0.1
"""Tokenised text has few tokens without a space between them: an f-string's, a decorator's."""
_KEYWORDS_BEFORE_PAREN: Final = frozenset(
    {"while", "if", "for", "switch", "catch", "return", "and", "or", "not", "in"}
)
_NO_SPACE_BEFORE: Final = frozenset(";:,.)]")
_NO_SPACE_BEHIND: Final = frozenset("([.")


def lexemes(text: str) -> list[str]:
    """The tokens of source code or a statement, roughly; white space is between them, comments are not told apart."""
    return _LEXEME.findall(text)


def is_tokenised(text: str) -> bool:
    """Whether the code has a space around every token."""
    found = list(_LEXEME.finditer(text))
    beside_signs = [
        before.end() < after.start()
        for before, after in pairwise(found)
        if not (_is_word(before[0]) and _is_word(after[0]))
    ]
    return beside_signs.count(False) < _MAX_GLUED * len(beside_signs)


def in_spacing_of(statement: str, source: str) -> str:
    """One statement, spaced as ``source`` is."""
    if is_tokenised(source):
        return " ".join(lexemes(statement))
    found = list(_LEXEME.finditer(statement))
    pieces = [found[0][0]] if found else []
    for before, after in pairwise(found):
        gap = "" if _is_tight(before[0], after[0]) else statement[before.end() : after.start()]
        pieces += [gap, after[0]]
    return "".join(pieces)


def _is_tight(before: str, after: str) -> bool:
    """Whether people write the two tokens without a space between them."""
    is_call = after == "(" and _is_word(before) and before not in _KEYWORDS_BEFORE_PAREN
    return is_call or after in _NO_SPACE_BEFORE or before in _NO_SPACE_BEHIND


def _is_word(lexeme: str) -> bool:
    return lexeme[0].isalnum() or lexeme[0] == "_"
