"""Lines of an untrusted text file, in flat memory: never more than one chunk and one record is held."""

from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.row import MAX_RECORD_BYTES

CHUNK_BYTES: Final = 256 << 10
"""Large enough that reading costs nothing beside parsing, small enough not to show in memory."""
_BOM: Final = b"\xef\xbb\xbf"


def read_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a local file, piece by piece."""
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _too_long(line: int) -> DatasetError:
    reason = f"is longer than {MAX_RECORD_BYTES} bytes without a line break"
    return DatasetError("row_too_long", reason, line=line)


def _without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    head = b""
    rest = iter(chunks)
    for chunk in rest:
        head += chunk
        if len(head) >= len(_BOM):
            break
    yield head.removeprefix(_BOM)
    yield from rest


def read_lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    r"""Number (from 1) and bytes of each line, its ``\n`` kept; a byte order mark at the start is dropped.

    Raises:
        DatasetError: a line longer than a record may be; raised before it is held.
    """
    pending = b""
    number = 0
    for chunk in _without_mark(chunks):
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            number += 1
            if len(line) > MAX_RECORD_BYTES:
                raise _too_long(number)
            yield number, line + b"\n"
        if len(pending) > MAX_RECORD_BYTES:
            raise _too_long(number + 1)
    if pending:
        yield number + 1, pending


def decode_line(number: int, line: bytes) -> str:
    """Text of a line.

    Raises:
        DatasetError: NUL bytes, or not UTF-8; the message names the byte and its column.
    """
    nul = line.find(b"\0")
    if nul >= 0:
        reason = f"holds a NUL byte at column {nul + 1}: the file must be UTF-8 text"
        raise DatasetError("invalid_encoding", reason, line=number)
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        reason = (
            f"is not valid UTF-8: byte 0x{line[error.start]:02x} at column {error.start + 1}; "
            "the file may be Latin-1 or Windows-1252: save it as UTF-8"
        )
        raise DatasetError("invalid_encoding", reason, line=number) from None
