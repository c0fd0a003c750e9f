"""Copying an object to the local disk so that only verified bytes ever carry the wanted name."""

import hashlib
import os
import secrets
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.contract.document import StoredFile
from deploy.store.protocol import ObjectCorrupt

_DOWNLOADS: Final = 2
"""A mismatch may have happened on the way; a second one has not."""


def fetch_verified(read: Callable[[], Iterator[bytes]], path: Path, expected: StoredFile) -> None:
    """Write what ``read`` yields into ``path`` if it is what ``expected`` says.

    Args:
        read: starts one download; called again after a mismatch.
        path: where the file shall lie; directories above it are made.
        expected: size and SHA-256 that were recorded.

    Raises:
        ObjectCorrupt: other bytes, twice; nothing is left at ``path``.
        StoreError: whatever ``read`` raises; ``path`` is untouched.
        OSError: of the local disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    found = ""
    for _ in range(_DOWNLOADS):
        found = _download(read, path, expected)
        if not found:
            return
    path.unlink(missing_ok=True)  # an older file of that name must not be taken for the verified one
    raise ObjectCorrupt(
        f"{expected.name}: recorded {expected.size_bytes} bytes with SHA-256 {expected.sha256}, found {found}"
    )


def _download(read: Callable[[], Iterator[bytes]], path: Path, expected: StoredFile) -> str:
    """Download once; returns what is wrong with the bytes, or nothing when they are at ``path``."""
    temporary = path.with_name(f".{secrets.token_hex(12)}.part")
    try:
        wrong = _write_verified(read, temporary, expected)
        if not wrong:
            temporary.replace(path)
        return wrong
    finally:
        temporary.unlink(missing_ok=True)


def _write_verified(read: Callable[[], Iterator[bytes]], temporary: Path, expected: StoredFile) -> str:
    digest = hashlib.sha256()
    size_bytes = 0
    with temporary.open("xb") as file:
        for chunk in read():
            size_bytes += len(chunk)
            if size_bytes > expected.size_bytes:  # never fill the disk with what is wrong already
                return f"more than {expected.size_bytes} bytes"
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if size_bytes != expected.size_bytes or digest.hexdigest() != expected.sha256:
        return f"{size_bytes} bytes with {digest.hexdigest()}"
    return ""
