"""What both stores do with the bytes of an object once they flow."""

from collections.abc import Iterator

from deploy.store.protocol import StoreError


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
