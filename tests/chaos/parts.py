"""The parts of an install on one machine: PostgreSQL, an S3 server, two API replicas, two reconcilers, and the wires between."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from typing import Final

import httpx
import psutil
from job_world import add_tiny
from postgresql_server import PostgresServer
from postgresql_server import binaries
from postgresql_server import end_postgres
from postgresql_server import new_postgres
from service_process import free_port
from waiting import until

from deploy.store.protocol import ObjectStore
from deploy.store.s3 import S3Store
from deploy.store.s3_client import s3_client
from deploy.store.s3_settings import S3Settings
from service.database import Database
from service.schema import migrate
from tests.chaos.wire import Wire

HERE: Final = Path(__file__).parent
BUCKET: Final = "chaos"
DURABLE: Final = "fsync = off\nsynchronous_commit = on\nfull_page_writes = off\n"
"""What was committed outlives the server's processes; the machine itself is not switched off."""
START_S: Final = 60.0
DAY_S: Final = 86_400


@dataclass(kw_only=True)
class Part:
    """A process that is killed, paused and started again."""

    name: str
    command: list[str]
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    paused: bool = False

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command, env=self.env, stdout=log, stderr=log, start_new_session=True
                )

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_S)
            self.paused = False

    def pause(self) -> None:
        """It gets no processor."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
            self.paused = True

    def resume(self) -> None:
        """It gets one again."""
        if self.paused and self.process is not None:
            self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def end(self) -> None:
        """As an operator does, then as the kernel does."""
        self.resume()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            self.kill()


@dataclass(kw_only=True)
class Install:
    """Everything, started."""

    home: Path
    postgres: PostgresServer
    s3: Part
    s3_url: str
    store: ObjectStore
    """By the direct way, for whoever judges."""
    apis: list[Part]
    reconcilers: list[Part]
    urls: list[str]
    wires: dict[str, Wire]
    database_url: str
    file_id: str = ""
    twins: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Second starts of attempts."""
    job_env: dict[str, str] = field(default_factory=dict)
    off: str = "nothing"

    def job_processes(self) -> list[psutil.Process]:
        """Every process of a job of this install."""
        return [each for each in psutil.process_iter() if self._is_job(each)]

    def _is_job(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            command = process.cmdline()
            return str(HERE / "run.py") in command and process.environ().get("CHAOS_HOME", "") in {
                "",
                str(self.home),
            }
        return False

    def start_twice(self, process: psutil.Process) -> None:
        """Start an attempt that runs once more, as Kubernetes may."""
        with suppress(psutil.Error, ValueError):
            command = process.cmdline()
            spec = command[command.index("--spec") : command.index("--spec") + 4]
            env = {**self.job_env, "TEMPER_POD": f"twin{len(self.twins)}"}
            own = [sys.executable, str(HERE / "run.py"), self.off, *spec]
            quiet = subprocess.DEVNULL
            self.twins.append(subprocess.Popen(own, env=env, stdout=quiet, stderr=quiet))


@contextmanager
def installed(home: Path, *, off: str = "nothing") -> Iterator[Install]:
    """Start everything below an empty directory; nothing is left of it afterwards. Raises LookupError without PostgreSQL."""
    found = binaries()
    if found is None:
        raise LookupError("chaos needs PostgreSQL (Debian: apt-get install postgresql)")
    with ExitStack() as held:
        postgres = new_postgres(found, settings=DURABLE)
        held.callback(end_postgres, postgres)
        postgres.start()
        postgres.execute("CREATE DATABASE chaos")
        direct = postgres.url("chaos")
        s3, s3_port = _start_s3(home)
        held.callback(s3.end)
        ways = {
            "database of the apis": postgres.port,
            "database of the reconcilers": postgres.port,
            "store": s3_port,
        }
        wires = {name: Wire(port) for name, port in ways.items()}
        for wire in wires.values():
            held.callback(wire.close)
        store = _make_bucket(s3_port)
        with closing(Database(direct)) as database:
            migrate(database)
            context: Any = SimpleNamespace(store=store, database=database)
            add_tiny(context)
        env = _environment(home, wires, off)
        apis = [_role(home, "api", number, env, wires) for number in range(2)]
        reconcilers = [_role(home, "reconcile", number, env, wires) for number in range(2)]
        for part in (*apis, *reconcilers):
            held.callback(part.end)
            part.start()
        install = Install(
            home=home,
            postgres=postgres,
            s3=s3,
            s3_url=f"http://127.0.0.1:{s3_port}",
            store=store,
            apis=apis,
            reconcilers=reconcilers,
            urls=[f"http://127.0.0.1:{part.env['TEMPER_PORT']}" for part in apis],
            wires=wires,
            database_url=direct,
            job_env=env,
            off=off,
        )
        held.callback(_end_twins, install)
        for url in install.urls:
            until(partial(_ready, url), seconds=START_S, pause_s=0.1)
        yield install


def _ready(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/readyz", trust_env=False, timeout=5).status_code == 200
    return False


def _end_twins(install: Install) -> None:
    for twin in install.twins:
        twin.kill()
        twin.wait()


def _environment(home: Path, wires: dict[str, Wire], off: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPER_", "AWS_"))}
    return {
        **clean,
        **CREDENTIALS,
        "PYTHONPATH": str(HERE.parents[1]),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{wires['store'].port}",
        "TEMPER_S3_CONNECT_TIMEOUT_S": "2",
        "TEMPER_S3_READ_TIMEOUT_S": "5",
        "TEMPER_STORE_URI": f"s3://{BUCKET}/temper",
        "TEMPER_MAX_RUNNING_JOBS": "3",
        "TEMPER_RECONCILE_INTERVAL_S": "0.5",
        "TEMPER_LOG_LEVEL": "warning",
        "CHAOS_OFF": off,
        "OMP_NUM_THREADS": "1",
    }


CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1,localhost",
}


def _role(home: Path, role: str, number: int, env: dict[str, str], wires: dict[str, Wire]) -> Part:
    name = f"{role}{number}"
    way = wires["database of the apis" if role == "api" else "database of the reconcilers"]
    # One machine's clock is a day ahead, the other's a day behind.
    own = {
        "TEMPER_HOME": str(home / name),
        "TEMPER_PORT": str(free_port()),
        "TEMPER_DATABASE_URL": f"postgresql+psycopg://temper@127.0.0.1:{way.port}/chaos",
        "CHAOS_AHEAD_S": str(DAY_S if number else -DAY_S),
    }
    return Part(
        name=name,
        command=[sys.executable, "-m", "tests.chaos.role", role],
        env={**env, **own},
        log=home / f"{name}.log",
    )


def _start_s3(home: Path) -> tuple[Part, int]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    part = Part(name="s3", command=command, env=dict(os.environ), log=home / "s3.log")
    part.start()
    until(lambda: _answers(port), seconds=START_S, pause_s=0.1)
    return part, port


def _answers(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=5).status_code < 500
    return False


def _make_bucket(port: int) -> ObjectStore:
    """Keeps every version of every object: what was written over is not forgotten."""
    os.environ.update(CREDENTIALS)
    settings = S3Settings(endpoint_url=f"http://127.0.0.1:{port}")
    client = s3_client(settings)
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return S3Store(BUCKET, "temper", settings=settings)
