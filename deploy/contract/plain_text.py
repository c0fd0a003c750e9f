"""Text of unknown origin, made safe for a terminal, a log and a spreadsheet. Does not escape HTML."""

import unicodedata
from typing import Final

FORMULA_STARTS: Final = frozenset("=+-@|%\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes for the beginning of a formula or a command, the full-width forms included."""


def escape_controls(text: str) -> str:
    r"""Show control, format, bidirectional and unassigned characters as ``\u{...}``; tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _harmless(character) else f"\\u{{{ord(character):x}}}" for character in text)


def _harmless(character: str) -> bool:
    return character == "\t" or unicodedata.category(character) not in {
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Cn",
        "Zl",
        "Zp",
    }


def spreadsheet_cell(text: str) -> str:
    """One line that a spreadsheet shows as it is: controls escaped, what looks like a formula quoted."""
    shown = escape_controls(text).replace("\t", " ")
    return f"'{shown}" if shown.lstrip()[:1] in FORMULA_STARTS else shown
