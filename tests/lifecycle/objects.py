"""An object store in memory that fails on demand, and how each process sees it."""

from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Final

from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.store.content import join
from deploy.store.fetch import fetch_verified
from deploy.store.protocol import ObjectInfo
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreUnavailable
from tests.lifecycle.history import Damaged
from tests.lifecycle.history import History
from tests.lifecycle.history import ReadWhole
from tests.lifecycle.history import Stored
from tests.lifecycle.process import Process

URI: Final = "s3://lifecycle"


@dataclass(slots=True)
class Objects:
    """The store itself: what it says it has stored, it has."""

    history: History
    held: dict[str, bytes] = field(default_factory=dict)

    def put(self, process: str, key: str, data: bytes) -> None:
        """Write, over what is there."""
        self.held[key] = data
        self.history.add(Stored(process=process, key=key, data=data))

    def put_once(self, process: str, key: str, data: bytes) -> bool:
        """Write unless something is there. Returns whether ``data`` is what is there now."""
        if key not in self.held:
            self.put(process, key, data)
        return self.held[key] == data

    def delete(self, process: str, key: str) -> None:
        """Remove."""
        if self.held.pop(key, None) is not None:
            self.history.add(Stored(process=process, key=key, data=None))

    def damage(self, key: str) -> None:
        """Flip a bit of an object."""
        data = bytearray(self.held[key])
        data[-1] ^= 1
        self.held[key] = bytes(data)
        self.history.add(Damaged(key=key))


class StoreView:
    """The store as one process reaches it."""

    def __init__(self, objects: Objects, process: Process) -> None:
        self._objects = objects
        self._process = process

    @property
    def uri(self) -> str:
        return URI

    def put(self, key: str, chunks: bytes | Iterable[bytes]) -> StoredFile:
        data = chunks if isinstance(chunks, bytes) else b"".join(chunks)
        self._reach(f"put {key}")
        self._objects.put(self._process.name, key, data)
        self._answer()
        return StoredFile(name=key.rpartition("/")[2], size_bytes=len(data), sha256=sha256_hex(data))

    def put_once(self, key: str, data: bytes) -> bool:
        self._reach(f"put_once {key}")
        stored = self._objects.put_once(self._process.name, key, data)
        self._answer()
        return stored

    def put_file(self, key: str, path: Path) -> StoredFile:
        return self.put(key, path.read_bytes())

    def get(self, key: str, *, limit_bytes: int = 16 << 20) -> bytes:
        return join(self.read(key), key=key, limit_bytes=limit_bytes)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        self._reach(f"read {key}")
        data = self._objects.held.get(key)
        if data is None:
            raise ObjectMissing(key)
        self._objects.history.add(ReadWhole(process=self._process.name, key=key, sha256=sha256_hex(data)))
        return iter([data[start : None if length is None else start + length]])

    def fetch_file(self, key: str, path: Path, expected: StoredFile) -> None:
        fetch_verified(lambda: self.read(key), path, expected)

    def info(self, key: str) -> ObjectInfo | None:
        self._reach(f"info {key}")
        data = self._objects.held.get(key)
        return None if data is None else ObjectInfo(key=key, size_bytes=len(data))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self._reach(f"list {prefix}")
        keys = sorted(key for key in self._objects.held if key.startswith(prefix) and key > after)
        return iter([ObjectInfo(key=key, size_bytes=len(self._objects.held[key])) for key in keys])

    def delete(self, key: str) -> None:
        self._reach(f"delete {key}")
        self._objects.delete(self._process.name, key)

    def delete_prefix(self, prefix: str) -> int:
        found = list(self.list(prefix))
        for info in found:
            self.delete(info.key)
        return len(found)

    def _reach(self, at: str) -> None:
        self._process.seam(at)
        if self._process.store_away or self._process.takes("cut"):
            raise StoreUnavailable("the store cannot be reached")

    def _answer(self) -> None:
        if self._process.takes("lost"):
            raise StoreUnavailable("the answer was lost")
