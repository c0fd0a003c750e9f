"""A PostgreSQL that keeps what it was told, and a service on it, as the tests start theirs."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Final

FIXTURES: Final = Path(__file__).parents[2] / "tests" / "fixtures"
KEY: Final = "load-7f0c2a11e5d94b3c"
DATABASE: Final = "load"


class NoPostgres(RuntimeError):  # noqa: N818 - it names a fact
    """There is no PostgreSQL on this machine, and without it the figures would say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to send requests, and what to look at meanwhile."""

    port: int
    pid: int
    home: Path
    database_url: str


@contextmanager
def place() -> Iterator[Place]:
    """Both, until the end of the block. Raises NoPostgres."""
    if str(FIXTURES) not in sys.path:
        sys.path.append(str(FIXTURES))
    from postgresql_server import binaries
    from postgresql_server import end_postgres
    from postgresql_server import new_postgres

    found = binaries()
    if found is None:
        raise NoPostgres("no PostgreSQL on this machine (Debian: apt-get install postgresql)")
    server = new_postgres(found, settings="")
    try:
        server.start()
        server.execute(f"CREATE DATABASE {DATABASE}")
        with tempfile.TemporaryDirectory(prefix="temper-load-", ignore_cleanup_errors=True) as directory:
            yield from _served(Path(directory) / "home", server.url(DATABASE))
    finally:
        end_postgres(server)


def _served(home: Path, database_url: str) -> Iterator[Place]:
    from service_process import ServiceProcess

    environment = {"TEMPER_API_KEY": KEY, "TEMPER_DATABASE_URL": database_url, "TEMPER_LOG_LEVEL": "warning"}
    service: Any = ServiceProcess(home=home, env=environment).start()
    try:
        yield Place(port=service.port, pid=service.pid, home=home, database_url=database_url)
    finally:
        try:
            service.stop()
        except subprocess.TimeoutExpired:  # nobody waits for what a busy machine has not ended
            service.kill()
