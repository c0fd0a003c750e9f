"""The directory of one embedded service. Only one process may hold it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HomeInUse(RuntimeError):  # noqa: N818
    """Another service holds this directory."""


@contextmanager
def holding(home: Path) -> Iterator[None]:
    """Hold ``home`` (created if need be) until the block ends or the process dies, however it dies.

    Raises:
        HomeInUse: another process holds it; the message says which.
    """
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise HomeInUse(f"{home} is held by the service with pid {pid}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        # The lock goes with the descriptor; the file stays, or two processes could lock two files.
        os.close(descriptor)
