"""A note of objects that are being written or deleted, so that a crash in between is tidied up.

An object and its row cannot be committed together. Whoever writes or deletes an object notes its
key first and strikes it out when object and row agree again; what is still noted when the service
starts is deleted unless a row stands for it. Only noted keys are ever touched: a service that
starts on an empty or older database deletes nothing else.
"""

import hashlib
import os
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Notes in a directory of the embedded service's home, one small file for each key."""

    directory: Path

    @contextmanager
    def noted(self, key: str) -> Iterator[None]:
        """Note ``key`` (or a prefix, which ends with a slash) until the block ends; for ever if the process or the store fails in it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        note = self.directory / hashlib.sha256(key.encode()).hexdigest()
        descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, key.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            yield
        except StoreError:
            # Whether the object is there now is not known: the next start finds out.
            raise
        except BaseException:
            note.unlink(missing_ok=True)
            raise
        note.unlink(missing_ok=True)

    def sweep(self, store: ObjectStore, *, known: Callable[[str], bool]) -> list[str]:
        """Delete the noted objects that no row stands for (``known`` tells), and strike out all notes.

        Returns the keys that were deleted. Called when nothing else runs yet.
        """
        if not self.directory.is_dir():
            return []
        deleted = []
        for note in sorted(self.directory.iterdir()):
            key = note.read_text()
            # An empty note was cut while it was written: its object was not begun.
            if key and not known(key):
                if key.endswith("/"):
                    store.delete_prefix(key)
                else:
                    store.delete(key)
                deleted.append(key)
            note.unlink()
        return deleted
