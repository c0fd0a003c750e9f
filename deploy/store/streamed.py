"""What the stores behind a network have in common: objects go up in parts and come down in chunks."""

from abc import ABC
from abc import abstractmethod
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path

from deploy.contract.document import StoredFile
from deploy.store.content import CHUNK_BYTES
from deploy.store.content import MOST_PARTS
from deploy.store.content import check_range
from deploy.store.content import join
from deploy.store.fetch import fetch_verified
from deploy.store.key import key_parts
from deploy.store.key import written_key_parts


class StreamedStore(ABC):
    """The part of an :class:`deploy.store.protocol.ObjectStore` that its two primitives, below, suffice for.

    Args:
        part_size_bytes: of a part of a large object; larger where it would have too many of them.
        max_concurrency: parts of one local file on their way at once.
    """

    def __init__(self, *, part_size_bytes: int, max_concurrency: int) -> None:
        self._part_size_bytes = part_size_bytes
        self._max_concurrency = max_concurrency

    @abstractmethod
    def _put(self, key: str, chunks: Iterable[bytes], *, part_size_bytes: int, in_flight: int) -> StoredFile:
        """Write an object whose key is good."""

    @abstractmethod
    def _read(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        """Open a range of an object; yield an empty chunk, then its bytes."""

    def put(self, key: str, chunks: bytes | Iterable[bytes]) -> StoredFile:
        """Write an object, overwriting; holds two parts of it at most. See the protocol."""
        written_key_parts(key)
        source = (chunks,) if isinstance(chunks, bytes) else chunks
        return self._put(key, source, part_size_bytes=self._part_size_bytes, in_flight=1)

    def put_file(self, key: str, path: Path) -> StoredFile:
        """Write an object from a local file, several parts at once. Raises OSError of the local file."""
        written_key_parts(key)
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            return self._put(
                key,
                iter(lambda: file.read(CHUNK_BYTES), b""),
                part_size_bytes=max(self._part_size_bytes, -(-size_bytes // MOST_PARTS)),
                in_flight=self._max_concurrency,
            )

    def get(self, key: str, *, limit_bytes: int = 16 << 20) -> bytes:
        """A small object whole; see the protocol."""
        return join(self.read(key), key=key, limit_bytes=limit_bytes)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of a range; see the protocol. A missing object is raised at once, not at the first chunk."""
        check_range(start, length)
        key_parts(key)
        chunks = self._read(key, start, None if length is None else start + length)
        next(chunks)  # opens the object
        return chunks

    def fetch_file(self, key: str, path: Path, expected: StoredFile) -> None:
        """Copy an object into ``path``, verified; see the protocol."""
        fetch_verified(lambda: self.read(key), path, expected)
