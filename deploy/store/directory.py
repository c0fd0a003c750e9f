"""A directory as object store: plain files, the key is the relative path.

Covers: atomic writes, put-once between processes, symbolic links below the root (never followed, not
even by a racing rename: every step is an ``openat`` with ``O_NOFOLLOW``), crashes, full disks.
Does not cover: file systems without hard links, or a root that others than the owner may write.
"""

import errno
import hashlib
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.contract.document import StoredFile
from deploy.store.content import CHUNK_BYTES
from deploy.store.content import check_range
from deploy.store.content import equal
from deploy.store.content import join
from deploy.store.fetch import fetch_verified
from deploy.store.key import TEMPORARY_PART
from deploy.store.key import deleted_prefix_parts
from deploy.store.key import is_part
from deploy.store.key import key_parts
from deploy.store.key import prefix_parts
from deploy.store.key import written_key_parts
from deploy.store.protocol import ObjectInfo
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreUnavailable

STALE_AFTER_S: Final = 86_400.0
"""No write goes without progress for a day; what has is left by a writer that died."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RACES: Final = 100
"""How often a write may lose its directory to a concurrent delete, or its rival to one."""
_NOT_HERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FOR_NOW: Final = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
)
_IN_THE_WAY: Final = frozenset(
    {errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST, errno.EPERM}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Temporary:
    """A file being written: an open directory, the name in it, the open file."""

    directory: int
    name: str
    file: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One name in a directory; directories carry their slash, so that sorting gives key order."""

    name: str
    size_bytes: int | None


class DirStore:
    """An :class:`deploy.store.protocol.ObjectStore` in a directory, which is made by the first write.

    Because keys are plain paths, any directory below the root is a store of its own.
    """

    def __init__(self, root: Path) -> None:
        # Only the root itself may be a link: that is its owner's choice.
        self._root = Path(os.path.realpath(root))
        self._sweep_lock = threading.Lock()
        self._swept = False

    @property
    def uri(self) -> str:
        """``file:///...`` of the root, percent-encoded where a URI asks for it."""
        return "file://" + self._root.as_uri().removeprefix("file://").rstrip("/")

    def put(self, key: str, chunks: bytes | Iterable[bytes]) -> StoredFile:
        """Write an object, overwriting; see the protocol."""
        parts = written_key_parts(key)
        with self._temporary(key) as temporary:
            size_bytes, sha256 = _write(temporary.file, chunks, key)
            self._publish(key, parts, lambda parent: _rename(temporary, parent, parts[-1]))
        return StoredFile(name=parts[-1], size_bytes=size_bytes, sha256=sha256)

    def put_once(self, key: str, data: bytes) -> bool:
        """Write an object unless one exists; see the protocol."""
        parts = written_key_parts(key)
        with self._temporary(key) as temporary:
            _write(temporary.file, data, key)
            for _ in range(_RACES):
                try:
                    self._publish(key, parts, lambda parent: _link(temporary, parent, parts[-1]))
                except FileExistsError:
                    with suppress(ObjectMissing):  # the rival's object was deleted meanwhile: try again
                        return equal(self.read(key), data)
                else:
                    return True
        raise StoreError(f"{key}: something that is no object is in the way")

    def put_file(self, key: str, path: Path) -> StoredFile:
        """Write an object from a local file; see the protocol. Raises OSError of the local file."""
        with path.open("rb") as file:
            return self.put(key, iter(lambda: file.read(CHUNK_BYTES), b""))

    def get(self, key: str, *, limit_bytes: int = 16 << 20) -> bytes:
        """A small object whole; see the protocol."""
        return join(self.read(key), key=key, limit_bytes=limit_bytes)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of a range; see the protocol. A missing object is raised at once, not at the first chunk."""
        check_range(start, length)
        chunks = self._read(key, key_parts(key), start, length)
        next(chunks)  # opens the object
        return chunks

    def fetch_file(self, key: str, path: Path, expected: StoredFile) -> None:
        """Copy an object into ``path``, verified; see the protocol."""
        fetch_verified(lambda: self.read(key), path, expected)

    def info(self, key: str) -> ObjectInfo | None:
        """Size of an object, or None."""
        parts = key_parts(key)
        with _store_errors(key):
            try:
                with self._directory(parts[:-1]) as parent:
                    status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                if error.errno in _NOT_HERE:
                    return None
                raise
        return ObjectInfo(key=key, size_bytes=status.st_size) if stat.S_ISREG(status.st_mode) else None

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects below a string prefix in key order; see the protocol."""
        parts, begun = prefix_parts(prefix)
        return self._walk(parts, begun, after)

    def delete(self, key: str) -> None:
        """Remove an object, and the directories above it that it leaves empty."""
        parts = key_parts(key)
        with _store_errors(key):
            try:
                with self._directory(parts[:-1]) as parent:
                    status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
                    if not stat.S_ISREG(status.st_mode):
                        return
                    os.unlink(parts[-1], dir_fd=parent)
                    os.fsync(parent)
            except OSError as error:
                if error.errno in _NOT_HERE:
                    return
                raise
            self._prune(parts[:-1])

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below ``prefix``, which ends with a slash; returns how many."""
        deleted = 0
        for info in self._walk(deleted_prefix_parts(prefix), ""):
            self.delete(info.key)
            deleted += 1
        return deleted

    def sweep(self, *, older_than_s: float = STALE_AFTER_S) -> int:
        """Remove what crashed writers left unfinished; the first write of a store does it too.

        Returns how many files were removed.
        """
        oldest = time.time() - older_than_s
        with _store_errors(TEMPORARY_PART):
            try:
                with self._directory((TEMPORARY_PART,)) as directory:
                    return sum(_unlink_older(directory, name, oldest) for name in os.listdir(directory))
            except FileNotFoundError:
                return 0

    @contextmanager
    def _directory(self, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """An open directory below the root, reached without following any link. Raises OSError."""
        if create:
            self._root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._root, _DIRECTORY)
        try:
            for part in parts:
                deeper = _enter(descriptor, part, create=create)
                os.close(descriptor)
                descriptor = deeper
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _temporary(self, key: str) -> Iterator[_Temporary]:
        """A new file on the store's file system; gone afterwards unless it was renamed."""
        self._sweep_once()
        with _store_errors(key):
            temporary = self._new_temporary()
        try:
            yield temporary
        finally:
            os.close(temporary.file)
            with suppress(FileNotFoundError):
                os.unlink(temporary.name, dir_fd=temporary.directory)
            os.close(temporary.directory)

    def _new_temporary(self) -> _Temporary:
        name = secrets.token_hex(16)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for race in range(_RACES):
            try:
                with self._directory((TEMPORARY_PART,), create=True) as directory:
                    # 0o666: the umask of who runs the store decides who may read it.
                    file = os.open(name, flags, 0o666, dir_fd=directory)
                    return _Temporary(directory=os.dup(directory), name=name, file=file)
            except FileNotFoundError:  # a concurrent delete pruned the directory
                if race == _RACES - 1:
                    raise
        raise AssertionError("unreachable")

    def _publish(self, key: str, parts: Sequence[str], place: Callable[[int], None]) -> None:
        """Make a temporary file visible; raises FileExistsError as it is, other errors as the store's."""
        for race in range(_RACES):
            with _store_errors(key):
                try:
                    with self._directory(parts[:-1], create=True) as parent:
                        place(parent)
                        os.fsync(parent)
                        return
                except FileNotFoundError:  # a concurrent delete pruned the directory
                    if race == _RACES - 1:
                        raise

    def _read(self, key: str, parts: Sequence[str], start: int, length: int | None) -> Iterator[bytes]:
        with _store_errors(key):
            file = self._open(key, parts)
        try:
            yield b""  # the caller takes this one, so that what follows always reaches ``finally``
            left = length
            while left is None or left > 0:
                with _store_errors(key):
                    chunk = os.pread(file, CHUNK_BYTES if left is None else min(CHUNK_BYTES, left), start)
                if not chunk:
                    return
                start += len(chunk)
                left = None if left is None else left - len(chunk)
                yield chunk
        finally:
            os.close(file)

    def _open(self, key: str, parts: Sequence[str]) -> int:
        try:
            with self._directory(parts[:-1]) as parent:
                # O_NONBLOCK: a FIFO must not hang the reader before it is refused.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                file = os.open(parts[-1], flags, dir_fd=parent)
        except OSError as error:
            if error.errno in _NOT_HERE:
                raise ObjectMissing(f"{self.uri}/{key}: no such object") from error
            raise
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise ObjectMissing(f"{self.uri}/{key}: no such object")
        return file

    def _walk(self, parts: Sequence[str], begun: str, after: str = "") -> Iterator[ObjectInfo]:
        """Objects behind ``after`` whose key begins with ``parts`` and ``begun``; holds one directory at a time."""
        above = "".join(f"{part}/" for part in parts)
        with _store_errors(above):
            try:
                with self._directory(parts) as directory:
                    entries = _entries(directory, begun, above, after)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                return
        for entry in entries:
            if entry.size_bytes is None:
                yield from self._walk((*parts, entry.name.removesuffix("/")), "", after)
            else:
                yield ObjectInfo(key=above + entry.name, size_bytes=entry.size_bytes)

    def _prune(self, parts: Sequence[str]) -> None:
        """Remove the directory ``parts`` and those above it, as far as they are empty."""
        for depth in range(len(parts), 0, -1):
            try:
                with self._directory(parts[:depth]) as directory, suppress(OSError):
                    os.rmdir(TEMPORARY_PART, dir_fd=directory)
                with self._directory(parts[: depth - 1]) as above:
                    os.rmdir(parts[depth - 1], dir_fd=above)
            except OSError:  # not empty, or a rival was faster; an empty directory is no object anyway
                return

    def _sweep_once(self) -> None:
        with self._sweep_lock:
            if self._swept:
                return
            self._swept = True
        self.sweep()


@contextmanager
def _store_errors(key: str) -> Iterator[None]:
    """Turn the operating system's errors into the store's."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        message = f"{key}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StoreFull(message) from error
        if error.errno in _FOR_NOW:
            raise StoreUnavailable(message) from error
        if error.errno in _IN_THE_WAY:
            raise StoreError(f"{message}: another object or a link is in the way") from error
        raise StoreError(message) from error


def _enter(directory: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=directory)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=directory)
        os.fsync(directory)
    return os.open(name, _DIRECTORY, dir_fd=directory)


def _entries(directory: int, begun: str, above: str, after: str) -> Sequence[_Entry]:
    """What lies in the directory of ``above`` in key order, as far as it can be part of a key to be listed."""
    entries = []
    with os.scandir(directory) as scanned:
        for entry in scanned:
            if not entry.name.startswith(begun) or not is_part(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                below = f"{above}{entry.name}/"
                if below > after or after.startswith(below):
                    entries.append(_Entry(name=entry.name + "/", size_bytes=None))
            elif above + entry.name > after and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # deleted meanwhile
                    size_bytes = entry.stat(follow_symlinks=False).st_size
                    entries.append(_Entry(name=entry.name, size_bytes=size_bytes))
    return sorted(entries, key=lambda entry: entry.name)


def _unlink_older(directory: int, name: str, oldest: float) -> bool:
    try:
        if os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime >= oldest:
            return False
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:  # its writer ended meanwhile
        return False
    return True


def _write(file: int, chunks: bytes | Iterable[bytes], key: str) -> tuple[int, str]:
    """Write and sync everything; returns size in bytes and SHA-256. What ``chunks`` raises passes through."""
    digest = hashlib.sha256()
    size_bytes = 0
    for chunk in (chunks,) if isinstance(chunks, bytes) else chunks:
        digest.update(chunk)
        size_bytes += len(chunk)
        with _store_errors(key):
            _write_whole(file, chunk)
    with _store_errors(key):
        os.fsync(file)
    return size_bytes, digest.hexdigest()


def _write_whole(file: int, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[os.write(file, left) :]


def _rename(temporary: _Temporary, parent: int, name: str) -> None:
    os.replace(temporary.name, name, src_dir_fd=temporary.directory, dst_dir_fd=parent)


def _link(temporary: _Temporary, parent: int, name: str) -> None:
    os.link(temporary.name, name, src_dir_fd=temporary.directory, dst_dir_fd=parent, follow_symlinks=False)
