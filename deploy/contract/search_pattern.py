"""Patterns that users write: RE2, which searches in time linear in the text and never backtracks.

Covers: hostile patterns and hostile texts; a compiled pattern takes at most ``MAX_MEMORY_BYTES``.
Does not cover: lookaround and backreferences, which RE2 has not; they are refused as errors.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import re2

MAX_MEMORY_BYTES: Final = 1 << 20
"""Of the compiled pattern and its automaton. ``(a{1,9}){1,100}`` would take more, and is refused."""


class PatternError(ValueError):
    """The text is no pattern, or one that is too large."""


@lru_cache(maxsize=64)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that says whether the pattern is found anywhere in a text.

    Raises:
        PatternError: not RE2 syntax, or it would need too much memory; the message says what and where.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY_BYTES
    try:
        compiled = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        raise PatternError(f"not a pattern in RE2 syntax: {_message(error)}") from error

    def finds(text: str) -> bool:
        # A lone surrogate is no Unicode and RE2 works on UTF-8.
        return compiled.search(text.encode(errors="replace").decode()) is not None

    return finds


def _message(error: Exception) -> str:
    # RE2's message is bytes in an exception's first argument.
    first = error.args[0] if error.args else error
    return first.decode(errors="replace") if isinstance(first, bytes) else str(error)
