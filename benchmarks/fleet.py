"""Jobs in flight without machines: real rows, real reconciler, a launcher that only remembers, a store that is slow.

Every job goes on for ever and tells its progress as a real one does over S3: a segment of events every five seconds.
"""

import itertools
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Final
from typing import TypeVar

from deploy.contract import layout
from deploy.contract.document import StoredFile
from deploy.contract.event import JobEvent
from deploy.endpoint.protocol import Serve
from deploy.endpoint.protocol import Server
from deploy.launch.protocol import Launch
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase
from deploy.store.directory import DirStore
from deploy.store.protocol import ObjectInfo
from deploy.store.protocol import ObjectStore
from service.context import Context
from service.database import Database
from service.jobs.schemas import Hardening
from service.reconcile.loop import Reconciler
from service.schema import migrate
from service.settings import settings_from_env
from service.tables import FileRow
from service.tables import JobRow

T = TypeVar("T")
SEGMENT_EVERY_S: Final = 5
"""As :func:`training.events.open_events` writes to S3."""
EVENTS: Final = 5
"""Of a segment."""
POD: Final = "5f0c3c1e-7b1e-4b62-9f0e-0d4c5d6b7a89"
CHECKPOINT_FILES: Final = 8


class SlowStore:
    """A store that answers late, as one behind a network does; counts its calls."""

    def __init__(self, store: ObjectStore, latency_s: float) -> None:
        self._store = store
        self._latency_s = latency_s
        self.calls = 0

    @property
    def uri(self) -> str:
        """Of the root."""
        return self._store.uri

    def put(self, key: str, chunks: bytes | Iterable[bytes]) -> StoredFile:
        """Late."""
        return self._late(lambda: self._store.put(key, chunks))

    def put_once(self, key: str, data: bytes) -> bool:
        """Late."""
        return self._late(lambda: self._store.put_once(key, data))

    def put_file(self, key: str, path: Path) -> StoredFile:
        """Late."""
        return self._late(lambda: self._store.put_file(key, path))

    def get(self, key: str, *, limit_bytes: int = 16 << 20) -> bytes:
        """Late."""
        return self._late(lambda: self._store.get(key, limit_bytes=limit_bytes))

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Late."""
        return self._late(lambda: self._store.read(key, start=start, length=length))

    def fetch_file(self, key: str, path: Path, expected: StoredFile) -> None:
        """Late."""
        self._late(lambda: self._store.fetch_file(key, path, expected))

    def info(self, key: str) -> ObjectInfo | None:
        """Late."""
        return self._late(lambda: self._store.info(key))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Late, once for all: as many as one page of S3 holds."""
        return self._late(lambda: self._store.list(prefix, after=after))

    def delete(self, key: str) -> None:
        """Late."""
        self._late(lambda: self._store.delete(key))

    def delete_prefix(self, prefix: str) -> int:
        """Late."""
        return self._late(lambda: self._store.delete_prefix(prefix))

    def _late(self, call: Callable[[], T]) -> T:
        self.calls += 1
        time.sleep(self._latency_s)
        return call()


@dataclass
class RememberingLauncher:
    """Runs nothing and forgets nothing: what a cluster's launcher keeps in memory."""

    runs: dict[str, Run] = field(default_factory=dict)

    def launch(self, order: Launch) -> None:
        """Remember it as running."""
        self.runs.setdefault(order.name, Run(name=order.name, phase=RunPhase.RUNNING))

    def observe(self) -> Mapping[str, Run]:
        """Everything."""
        return self.runs

    @property
    def observed_at(self) -> float:
        """Now."""
        return time.monotonic()

    def stop(self, name: str, *, grace_s: float) -> None:
        """Over at once."""
        self.runs[name] = Run(name=name, phase=RunPhase.EXITED, exit_code=51)

    def remove(self, name: str) -> None:
        """Forget one."""
        self.runs.pop(name, None)

    def log_tail(self, name: str, *, lines: int = 50) -> str:
        """Nothing."""
        return ""

    def close(self) -> None:
        """Nothing runs."""


class NothingServed:
    """No endpoints."""

    def serve(self, order: Serve) -> None:
        """Never asked."""
        raise NotImplementedError(order.name)

    def observe(self) -> Mapping[str, Server]:
        """None."""
        return {}

    def remove(self, name: str) -> None:
        """Nothing to remove."""

    def close(self) -> None:
        """Nothing to stop."""


class Fleet:
    """So many jobs in flight, and the reconciler that looks after them."""

    def __init__(self, context: Context, reconciler: Reconciler, fast: ObjectStore, jobs: list[str]) -> None:
        self.context = context
        self.reconciler = reconciler
        self.jobs = jobs
        self._fast = fast
        self._turns = itertools.count()
        self._segments = dict.fromkeys(jobs, 1)

    def live(self) -> None:
        """A second passes: every fifth job writes a segment."""
        turn = next(self._turns) % SEGMENT_EVERY_S
        for job in self.jobs[turn::SEGMENT_EVERY_S]:
            number = self._segments[job]
            self._segments[job] += 1
            self._fast.put(layout.event_segment_key(job, 1, POD, number), segment(number))

    def tick(self) -> None:
        """One tick of everything."""
        self.reconciler.tick()

    def ask_each(self) -> None:
        """What a tick would ask the store if it looked at every job: its result, and all that it wrote."""
        for job in self.jobs:
            self.context.store.info(layout.result_key(job))
            for _ in self.context.store.list(layout.attempt_prefix(job, 1)):
                pass


def segment(number: int) -> bytes:
    """Five events of a training that goes on."""
    first = number * EVENTS
    events = (
        JobEvent(
            sequence=sequence,
            at=time.time(),
            type="metrics",
            message=f"step {sequence}",
            phase="training",
            data={"arm": "hardened", "epoch": 1, "n_epochs": 3, "step": sequence, "total_steps": 1 << 30}
            | {"loss": 0.5, "learning_rate": 1e-5, "tokens_per_second": 900.0, "eta_s": 3600.0},
        )
        for sequence in range(first, first + EVENTS)
    )
    return b"".join(event.model_dump_json().encode() + b"\n" for event in events)


@contextmanager
def fleet(home: Path, *, jobs: int, latency_s: float) -> Iterator[Fleet]:
    """So many running jobs on a database and a store of their own below ``home``."""
    home.mkdir(parents=True)
    settings = settings_from_env({"TEMPER_HOME": str(home), "TEMPER_MAX_RUNNING_JOBS": "10000"})
    fast = DirStore(home / "objects")
    database = Database(settings.database_url)
    context = Context(settings=settings, database=database, store=SlowStore(fast, latency_s))
    ids = [f"ftjob-{number:032x}" for number in range(jobs)]
    launcher = RememberingLauncher()
    try:
        migrate(database)
        with database.writing() as session:
            session.add(file_row())
            session.flush()
            session.add_all(job_row(job) for job in ids)
        for job in ids:
            name = layout.job_name(job, 1)
            launcher.runs[name] = Run(name=name, phase=RunPhase.RUNNING)
            _write_start(fast, job)
        reconciler = Reconciler(context, launcher, NothingServed())
        yield Fleet(context, reconciler, fast, ids)
        reconciler.close()
    finally:
        database.close()


def file_row() -> FileRow:
    """Of the file that all of them train on."""
    return FileRow(
        id="file-rows",
        filename="rows.jsonl",
        purpose="fine-tune",
        bytes=1,
        sha256="0" * 64,
        created_at=1,
    )


def job_row(job: str) -> JobRow:
    """Of a job that runs, as large as one of a model in twenty shards."""
    files = [{"name": f"model-{n}.safetensors", "size_bytes": 1, "sha256": "0" * 64} for n in range(20)]
    return JobRow(
        id=job,
        model="base",
        training_file="file-rows",
        method={"type": "supervised", "supervised": {"hyperparameters": {}}},
        hyperparameters={},
        hardening=Hardening().model_dump(mode="json"),
        inputs={"base_model": {"type": "stored", "uri": "s3://b/m/", "files": files}, "datasets": {}},
        seed=0,
        status="running",
        phase="training",
        attempt=1,
        spec_sha256="0" * 64,
        launched_at=int(time.time()),
        created_at=1,
    )


def _write_start(store: ObjectStore, job: str) -> None:
    store.put(layout.spec_key(job, 1), b"{}")
    store.put(layout.event_segment_key(job, 1, POD, 0), segment(0))
    prefix = layout.checkpoint_prefix(job, 1, POD, "hardened", 100)
    for number in range(CHECKPOINT_FILES if job.endswith("0") else 0):
        store.put(f"{prefix}{number}.safetensors", b"")


def store_calls(context: Context) -> int:
    """How often the store of a fleet was asked."""
    store: Any = context.store
    return int(store.calls)
