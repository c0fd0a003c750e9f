"""What every object store can do. Keys are ``/``-separated, relative to the store's root."""

from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.contract.document import StoredFile


class StoreError(Exception):
    """The object store failed."""


class ObjectMissing(StoreError):  # noqa: N818 - a fact, not a fault
    """No object has this key."""


class ObjectCorrupt(StoreError):  # noqa: N818
    """The object's bytes are not the ones that were recorded."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store did not answer in time, or refused for now; the same call may work later."""


class StoreRefused(StoreError):  # noqa: N818 - named as its neighbours are
    """The store refuses, and will until somebody changes a setting, a permission or a clock.

    ``code`` says which in a word: ``bucket_missing``, ``region_wrong``, ``clock_skewed``, ``credentials_missing``,
    ``credentials_wrong``, ``not_permitted``, ``certificate``, ``encryption``, ``feature_missing``,
    ``overwrites`` (an object that is written once would not stay). It names nothing of the install.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StoreFull(StoreError):  # noqa: N818
    """There is no room left."""


class InvalidKey(StoreError):  # noqa: N818
    """The key is empty, absolute, or has an empty, ``.`` or ``..`` part or a control character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What a listing says of an object."""

    key: str
    size_bytes: int


class ObjectStore(Protocol):
    """Bytes by key. Every write is all or nothing: a cut connection or a crash leaves nothing visible.

    Every method raises :class:`StoreUnavailable` when the store cannot be reached and
    :class:`InvalidKey` for a bad key. Methods are thread-safe and block.
    """

    @property
    def uri(self) -> str:
        """Of the root, without a trailing slash: ``file:///...`` or ``s3://bucket/prefix``."""
        ...

    def put(self, key: str, chunks: bytes | Iterable[bytes]) -> StoredFile:
        """Write an object, overwriting; memory stays flat for an iterable of any length.

        Returns the size and the SHA-256 of what was written (``name`` is the key's last part).
        Raises whatever ``chunks`` raises, with nothing left visible. Raises StoreFull.
        """
        ...

    def put_once(self, key: str, data: bytes) -> bool:
        """Write an object unless one exists; of any number of concurrent writers exactly one wins.

        Returns True when this call wrote it or the stored bytes equal ``data`` (a retry after a lost
        answer); False when other bytes are there.
        """
        ...

    def put_file(self, key: str, path: Path) -> StoredFile:
        """Write an object from a local file (multipart where the store has it)."""
        ...

    def get(self, key: str, *, limit_bytes: int = 16 << 20) -> bytes:
        """A small object whole. Raises ObjectMissing; StoreError when larger than ``limit_bytes``."""
        ...

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes ``start`` to ``start + length`` (or the end) in chunks of at most 1 MiB. Raises ObjectMissing."""
        ...

    def fetch_file(self, key: str, path: Path, expected: StoredFile) -> None:
        """Copy an object into ``path``, verifying size and SHA-256 before ``path`` becomes visible.

        Raises ObjectMissing, ObjectCorrupt (nothing is left at ``path``), OSError of the local disk.
        """
        ...

    def info(self, key: str) -> ObjectInfo | None:
        """Size of an object, or None."""
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects below ``prefix`` (a plain string prefix), in key order, pages fetched as needed.

        ``after`` leaves out every key up to and including that string, at no cost, whether or not it is a key.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below ``prefix``, which ends with a slash; returns how many."""
        ...
