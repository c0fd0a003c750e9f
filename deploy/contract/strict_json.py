"""JSON from an untrusted hand: what the standard parser lets through in silence is refused here.

Covers: duplicate keys (the last one would win), NaN and infinities (``1e999`` too), integers of absurd
length, nesting that exhausts the stack. Does not cover: size, which the caller bounds before it calls,
and lone surrogates, which are for the reader of each string (:func:`lone_surrogate`).
"""

import json
import math
from typing import Any
from typing import Final

MAX_NUMBER_DIGITS: Final = 32
"""A 64-bit integer has 20 digits, a double 17 significant ones; turning more into a number costs quadratic time."""


class StrictJsonError(ValueError):
    """The text is not JSON, or is JSON that two readers could understand differently.

    ``code`` is stable; ``at_end`` tells that the text stopped where more was needed.
    """

    def __init__(self, code: str, reason: str, *, at_end: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.at_end = at_end


def _quoted(text: str) -> str:
    shown = text if len(text) <= 40 else text[:37] + "..."
    return json.dumps(shown)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise StrictJsonError("duplicate_key", f"the key {_quoted(key)} occurs twice in one object")
            seen.add(key)
    return members


def _constant(name: str) -> float:
    raise StrictJsonError("not_a_number", f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    if len(digits) > MAX_NUMBER_DIGITS:
        raise StrictJsonError("not_a_number", f"a number has {len(digits)} digits")
    # Negative zero is no integer to other parsers of JSON.
    return -0.0 if digits == "-0" else int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise StrictJsonError("not_a_number", f"the number {_quoted(digits)} is infinite")
    return value


def parse(text: str) -> Any:
    """The value of one JSON text.

    Raises:
        StrictJsonError: with the code ``invalid_json``, ``duplicate_key``, ``not_a_number`` or
            ``nested_too_deeply``.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        reason = f"is not valid JSON: {error.msg} (column {error.colno})"
        raise StrictJsonError("invalid_json", reason, at_end=at_end) from None
    except RecursionError:
        raise StrictJsonError("nested_too_deeply", "is nested too deeply") from None


def lone_surrogate(text: str) -> str | None:
    """The first lone surrogate of ``text``, escaped, or None when the text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x}"
    return None
