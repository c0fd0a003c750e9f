"""What every store does with the bytes of an object once they flow."""

import hashlib
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Final

from deploy.store.protocol import StoreError

CHUNK_BYTES: Final = 1 << 20
"""Of what is read at a time."""
MOST_PARTS: Final = 10_000
"""The limit of S3."""


def join(chunks: Iterator[bytes], *, key: str, limit_bytes: int) -> bytes:
    """All chunks in one. Raises StoreError when they are more than ``limit_bytes``."""
    joined = bytearray()
    for chunk in chunks:
        joined += chunk
        if len(joined) > limit_bytes:
            raise StoreError(f"{key}: larger than {limit_bytes} bytes")
    return bytes(joined)


def equal(chunks: Iterator[bytes], data: bytes) -> bool:
    """Whether the chunks together are ``data``."""
    offset = 0
    for chunk in chunks:
        if data[offset : offset + len(chunk)] != chunk:
            return False
        offset += len(chunk)
    return offset == len(data)


def check_range(start: int, length: int | None) -> None:
    """Raise ValueError for a range that nobody can mean; one behind the end is merely empty."""
    if start < 0 or (length is not None and length < 0):
        raise ValueError(f"negative range: start {start}, length {length}")


def parts_of(chunks: Iterable[bytes], part_size_bytes: int) -> Iterator[bytearray]:
    """Regroup chunks of any size into parts of one size; only the last one is shorter, none is empty."""
    part = bytearray()
    for chunk in chunks:
        left = memoryview(chunk)
        while left:
            taken = part_size_bytes - len(part)
            part += left[:taken]
            left = left[taken:]
            if len(part) == part_size_bytes:
                yield part
                part = bytearray()
    if part:
        yield part


def from_first(first: list[bytearray], rest: Iterator[bytearray]) -> Iterator[bytearray]:
    """All parts, letting go of the first one when it is gone: two parts are held, not three."""
    yield first.pop()
    yield from rest


class Tally:
    """Size and SHA-256 of what flows through."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """Of what has flowed so far."""
        return self._digest.hexdigest()

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass chunks on."""
        for chunk in chunks:
            self._digest.update(chunk)
            self.size_bytes += len(chunk)
            yield chunk
