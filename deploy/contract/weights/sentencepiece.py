"""A SentencePiece model file, read and written anew without the library.

It is a protocol buffer: pieces (field 1), how it was trained (2), how texts are normalised (3, 5). Covers: fields that
are none of these (dropped), lengths that lie, numbers and scores out of range, pieces that are not text. Does not
cover: the compiled table of characters inside the normaliser, which is bounded and copied.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.contract.dataset.sniff import binary_kind
from deploy.contract.weights.document import MAX_TOKENIZER_BYTES
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.keys import MAX_VOCABULARY
from deploy.contract.weights.kinds import MAX_TOKEN_CHARS

_PIECE: Final = 1
_SETTINGS: Final = frozenset({2, 3, 5})
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_LAST_PIECE_KIND: Final = 6
_TEXT, _SCORE, _KIND = 1, 2, 3

Field = tuple[int, int, bytes]
"""Number, wire type, content."""


class _MalformedError(ValueError):
    pass


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _MalformedError("it is cut short")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _MalformedError("a number has more than ten bytes")


def _fields(data: bytes) -> Iterator[Field]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        start = position
        if wire == _VARINT:
            _, position = _varint(data, position)
        elif wire == _BYTES:
            length, start = _varint(data, position)
            position = start + length
        elif wire in {_EIGHT_BYTES, _FOUR_BYTES}:
            position += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise _MalformedError(f"it has a field of the unknown type {wire}")
        if position > len(data):
            raise _MalformedError("it is cut short")
        yield number, wire, data[start:position]


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, wire: int, content: bytes) -> bytes:
    return _number(number << 3 | wire) + (_number(len(content)) if wire == _BYTES else b"") + content


def _piece(data: bytes) -> bytes:
    out = b""
    for number, wire, content in _fields(data):
        if (number, wire) == (_TEXT, _BYTES):
            if len(content.decode()) > MAX_TOKEN_CHARS:
                raise _MalformedError(f"a piece has more than {MAX_TOKEN_CHARS} characters")
        elif (number, wire) == (_SCORE, _FOUR_BYTES):
            if not math.isfinite(struct.unpack("<f", content)[0]):
                raise _MalformedError("the score of a piece is no finite number")
        elif (number, wire) == (_KIND, _VARINT):
            if not 1 <= _varint(content, 0)[0] <= _LAST_PIECE_KIND:
                raise _MalformedError("a piece is of an unknown kind")
        else:
            raise _MalformedError(f"a piece has the unknown field {number}")
        out += _field(number, wire, content)
    return out


def _rewritten(data: bytes) -> bytes:
    out, pieces = [], 0
    for number, wire, content in _fields(data):
        if number == _PIECE and wire == _BYTES:
            pieces += 1
            out.append(_field(number, wire, _piece(content)))
        elif number in _SETTINGS and wire == _BYTES:
            # Walked to its end: a library must not be the first that reads it.
            out.append(_field(number, wire, b"".join(_field(*each) for each in _fields(content))))
    if not 1 <= pieces <= MAX_VOCABULARY:
        raise _MalformedError(f"it has not 1 to {MAX_VOCABULARY} pieces")
    return b"".join(out)


def rewrite_sentencepiece(path: Path) -> bytes:
    """A new file with the pieces and settings of the one at ``path``.

    Raises:
        ModelRefused: ``file_too_large`` or ``invalid_tokenizer``.
    """
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ModelRefused("file_too_large", f"is larger than {MAX_TOKENIZER_BYTES} bytes", file=path.name)
    data = path.read_bytes()
    try:
        return _rewritten(data)
    except ValueError as error:
        kind = binary_kind(data[:512])
        said = f"it seems to be {kind}" if kind else str(error)
        raise ModelRefused(
            "invalid_tokenizer", f"is not a SentencePiece model: {said}", file=path.name
        ) from None
