"""Inputs to begin with: those that were kept in tests/fuzz/corpus, and changes of them that break what was whole."""

import random
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parent / "corpus"
TELLING: Final = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"',
    b"\\ud800",
    b"{",
    b"[" * 600,
    b"1e999",
    b"NaN",
    b"-0",
    b"9" * 400,
    b"\r\n",
    b"\xe2\x80\xae",
    b"../",
    b"__proto__",
    (1 << 63).to_bytes(8, "little"),
)
"""Bytes over which parsers have stumbled."""


def kept(parser: str) -> list[bytes]:
    """The inputs of one parser, in the order of their names."""
    return [path.read_bytes() for path in sorted((DIRECTORY / parser).glob("*"))]


def changed(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to four small damages."""
    broken = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(broken) + 1)
        until = min(len(broken), at + chance.choice((1, 2, 8, 64)))
        match chance.randrange(5):
            case 0:
                del broken[at:until]
            case 1:
                broken[at:at] = chance.choice(TELLING)
            case 2:
                broken[at:until] = chance.randbytes(until - at)
            case 3:
                broken[at:at] = broken[at:until] * chance.choice((1, 2, 50))
            case _:
                broken[at:until] = chance.choice(TELLING)
    return bytes(broken)
