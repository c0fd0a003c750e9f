"""A service, its object store and its cluster, in which everything happens when it is told to.

Real: the API, the rows, the reconcilers, verification and publication, records and recovery. Made for this: the
object store, the cluster, the servers, the clocks, and which process does its next step when.
"""

import shutil
import sqlite3
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from types import SimpleNamespace
from typing import Any
from typing import Final

from fastapi import FastAPI
from job_world import ROWS
from job_world import FakeBackend
from job_world import add_tiny
from sqlalchemy import event
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from deploy.contract import layout
from deploy.contract.dataset.validation import validate
from deploy.contract.result import JobFailure
from deploy.endpoint.protocol import Serve
from deploy.launch.protocol import Launch
from deploy.store.protocol import StoreError
from service.clock import SharedClock
from service.context import Context
from service.database import Database
from service.heartbeat import Heartbeats
from service.leadership import NotLeading
from service.metrics import Metrics
from service.reconcile.background import TRANSIENT
from service.reconcile.loop import Reconciler
from service.recovery.recovery import recover
from service.settings import settings_from_env
from service.tables import JobRow
from service.tidy import Housekeeping
from service.work.ends import TERMINAL
from tests.lifecycle.cluster import Cluster
from tests.lifecycle.cluster import LauncherView
from tests.lifecycle.cluster import Pod
from tests.lifecycle.history import Answered
from tests.lifecycle.history import Foreign
from tests.lifecycle.history import History
from tests.lifecycle.history import Restored
from tests.lifecycle.history import Seen
from tests.lifecycle.history import Served
from tests.lifecycle.history import Unanswered
from tests.lifecycle.history import Waited
from tests.lifecycle.history import Wrote
from tests.lifecycle.inline import Inline
from tests.lifecycle.objects import Objects
from tests.lifecycle.objects import StoreView
from tests.lifecycle.process import Process
from tests.lifecycle.turns import Strand
from tests.lifecycle.turns import Turns

JOBS: Final = "/v1/fine_tuning/jobs"
NAMES: Final = ("A", "B")
HEAL_ROUNDS: Final = 60
HEAL_STEP_S: Final = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What every world begins with: a base model and a dataset."""

    database: Path
    held: dict[str, bytes]
    file_id: str
    other: str
    """A project that owns nothing."""


class SeamDatabase(Database):
    """The database as one process uses it: before a transaction and after it, others may come."""

    def __init__(self, database: Database, process: Process, history: History, leads: Callable[[], bool]):
        self.__dict__.update(vars(database))
        self._process, self._history, self._leads = process, history, leads

    @contextmanager
    def writing(self) -> Iterator[Session]:
        self._process.seam("begin")
        self._process.turns.enter()
        try:
            with super().writing() as session:
                before = _changes(session)
                yield session
                session.flush()
                changed = _changes(session) != before
            if changed:
                self._history.add(Wrote(process=self._process.name, led=self._leads()))
        finally:
            self._process.turns.leave()
        self._process.seam("committed")


def _changes(session: Session) -> int:
    connection: Any = session.connection().connection.driver_connection
    return int(connection.total_changes)


class Election(threading.Event):
    """Tells a reconciler whether it has lost the lead."""

    def __init__(self, leads: Callable[[], bool]) -> None:
        super().__init__()
        self._leads = leads
        self.beginning = False

    def is_set(self) -> bool:
        return self.beginning or not self._leads()


@dataclass
class Servers(FakeBackend):
    """Servers that write down what they were told to serve."""

    history: History = field(default_factory=History)

    def serve(self, order: Serve) -> None:
        files = tuple((file.name, file.sha256) for file in order.files)
        self.history.add(Served(model=order.model_id, files=files))
        super().serve(order)


@dataclass
class Reconciling:
    """One start of a reconciling process."""

    process: Process
    context: Context
    reconciler: Reconciler
    housekeeping: Housekeeping
    election: Election
    strand: Strand | None = None

    def lead(self) -> None:
        """It has been elected, and does what its loop does at its beginning."""
        self.election.beginning = True
        self.reconciler.run(self.election)
        self.election.beginning = False

    def step(self) -> int:
        """One tick and what is done beside it, as their supervisors do them."""
        actions = 1
        with suppress(*TRANSIENT):
            actions = self.reconciler.tick()
        with suppress(*TRANSIENT):
            self.housekeeping.step()
        return actions


@dataclass
class Request:
    """A request on its way."""

    strand: Strand
    verb: str
    job: str | None = None
    key: str | None = None
    body: int | None = None
    asked: int = 0
    """Entries of the history when it was made."""


class World:
    """Everything at once.

    Args:
        home: an empty directory.
        beginning: what is there at first; None for nothing.
        app: a client of it; one app serves one world after the other.
        client: the client.
        stand_in: the job's program.
    """

    def __init__(
        self, home: Path, beginning: Beginning, app: FastAPI, client: TestClient, stand_in: ModuleType
    ) -> None:
        self.history, self.turns = History(), Turns()
        self._home, self._beginning, self._app, self._client = home, beginning, app, client
        self._stand_in = stand_in
        self.time = 1_800_000_000.0
        self.machines_ahead_s = 0.0
        self.objects = Objects(self.history, dict(beginning.held))
        self.cluster = Cluster(self.history, self._start_pod)
        self.servers = Servers(history=self.history)
        self._settings = settings_from_env({"TEMPER_HOME": str(home), "TEMPER_MAX_RUNNING_JOBS": "8"})
        shutil.copy(beginning.database, home / "temper.db")
        self._database = open_quickly(self._settings.database_url)
        self.leader: str | None = None
        self._starts = 0
        self.requests: list[Request] = []
        self.backups: list[Path] = []
        self._last_seen: dict[str, Seen] = {}
        self.jobs: list[str] = []
        """Ids that were answered, the oldest first."""
        self.reconcilers: dict[str, Reconciling] = {}
        self.start_api()
        for name in NAMES:
            self.start_reconciler(name)
        self.elect("A")

    # ---- processes --------------------------------------------------------------------------

    def _context(self, process: Process, leads: Callable[[], bool]) -> Context:
        return Context(
            settings=self._settings,
            database=SeamDatabase(self._database, process, self.history, leads),
            store=StoreView(self.objects, process),
            clock=SharedClock(lambda: self.time, monotonic=lambda: self.time),
            metrics=Metrics(),
            heartbeats=Heartbeats(),
            checks=Inline(),
        )

    def start_api(self) -> None:
        """Another process answers from now on; requests on their way die with the former one."""
        for request in self.requests:
            self._end(request, killed=True)
        self.requests.clear()
        self.api = Process(self._name("api"), self.turns)
        self._app.state.context = self._context(self.api, lambda: True)

    def start_reconciler(self, name: str) -> None:
        """A process without any memory takes the place of the one before it."""
        former = self.reconcilers.get(name)
        if former is not None:
            former.process.dead = True
            if former.strand is not None:
                former.strand.kill()
        process = Process(self._name(name), self.turns)

        def leads() -> bool:
            return self.leader == name and not process.dead

        def require() -> None:
            if not leads():
                raise NotLeading("this process leads no more")

        context = self._context(process, leads)
        context = replace(context, database=context.database.fenced(require))
        reconciler = Reconciler(context, LauncherView(self.cluster, process), self.servers, validate=validate)
        made = Reconciling(process, context, reconciler, Housekeeping(context), Election(leads))
        self.reconcilers[name] = made
        if self.leader == name:
            made.lead()

    def _name(self, kind: str) -> str:
        self._starts += 1
        return f"{kind}{self._starts}"

    def elect(self, name: str) -> None:
        """From now on this process leads, whatever the other one believes."""
        if self.leader != name:
            self.leader = name
            if self.reconcilers[name].strand is not None:
                # It is still in the middle of what it began when it led before: that ends first, without the lead.
                self.leader = None
                self.advance_reconciler(name)
                self.leader = name
            self.reconcilers[name].lead()

    def advance_reconciler(self, name: str, seams: int | None = None) -> None:
        """Let one go on; it begins a tick only while it leads."""
        there = self.reconcilers[name]
        if there.strand is None:
            if self.leader != name:
                return
            there.strand = self.turns.begin(there.step)
        try:
            there.strand.advance(seams)
        except NotLeading:
            assert self.leader != name
        if there.strand.ended:
            there.strand = None

    def stop_before_a_change(self) -> None:
        """The leader's tick, as far as its next transaction; to its end if it has none."""
        assert self.leader is not None
        there = self.reconcilers[self.leader]
        self.advance_reconciler(self.leader, 1)
        while there.strand is not None and there.strand.at != "begin":
            self.advance_reconciler(self.leader, 1)

    def tick(self, times: int = 1) -> None:
        """Whole ticks of the leader."""
        for _ in range(times):
            assert self.leader is not None
            self.advance_reconciler(self.leader)
        self.look()

    # ---- pods -------------------------------------------------------------------------------

    def _start_pod(self, order: Launch) -> Pod:
        process = Process(self._name("pod"), self.turns)
        self._stand_in.time = SimpleNamespace(  # type: ignore[attr-defined]
            time=lambda: self.time + self.machines_ahead_s, sleep=lambda _seconds: None
        )
        view = StoreView(self.objects, process)
        return Pod(process, self.turns.begin(lambda: self._run_job(view, order, process.name)))

    def _run_job(self, view: StoreView, order: Launch, pod: str) -> int:
        """The stand-in's program, over what this pod can reach."""
        _OF_THREAD.store = view
        try:
            return int(self._stand_in.run(order.spec_uri, order.spec_sha256, pod))
        except StoreError as error:
            self._leave_word(view, order, pod, str(error))
            return 52

    def _leave_word(self, view: StoreView, order: Launch, pod: str, said: str) -> None:
        identity = layout.job_of_name(order.name)
        if identity is not None:
            failure = JobFailure(exit_code=52, code="store_unavailable", message=said)
            with suppress(StoreError):
                view.put(layout.failure_key(*identity, pod), failure.to_bytes())

    # ---- requests ---------------------------------------------------------------------------

    def submit(self, *, body: int = 0, key: str | None = None, retry: bool = False) -> Request:
        """A request that has not arrived yet; ``body`` is the seed of its job."""
        document = {"model": "tiny", "training_file": self._beginning.file_id, "seed": body}
        headers = {} if key is None else {"idempotency-key": key}
        if retry:
            headers["x-stainless-retry-count"] = "1"
        work = self._post(JOBS, document, headers)
        asked = len(self.history.entries)
        request = Request(self.turns.begin(work), "create", key=key, body=body, asked=asked)
        self.requests.append(request)
        return request

    def decide(self, verb: str, job: str) -> Request:
        """Cancel, pause or resume."""
        request = Request(self.turns.begin(self._post(f"{JOBS}/{job}/{verb}")), verb, job=job)
        self.requests.append(request)
        return request

    def deploy(self, model: str) -> None:
        """An endpoint for a model, at once."""
        self.answer(Request(self.turns.begin(self._post("/v1/endpoints", {"model": model})), "deploy"))

    def remove_endpoints(self) -> None:
        """All of them."""
        for endpoint in self._client.get("/v1/endpoints").json()["data"]:
            self._client.delete(f"/v1/endpoints/{endpoint['id']}")

    def _post(
        self, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> Callable[[], object]:
        return lambda: self._client.post(path, json=body, headers=headers)

    def answer(self, request: Request, seams: int | None = None) -> str | None:
        """Let a request go on. Returns the id of its job, once it is answered with one."""
        request.strand.advance(seams)
        if not request.strand.ended:
            return None
        if request in self.requests:
            self.requests.remove(request)
        return self._end(request)

    def _end(self, request: Request, *, killed: bool = False) -> str | None:
        if killed:
            request.strand.kill()
            self.history.add(Unanswered(verb=request.verb, key=request.key, body=request.body))
            return None
        answer: Any = request.strand.value
        good = answer.status_code == 200
        job = str(answer.json()["id"]) if good and request.verb != "deploy" else request.job
        told = Answered(
            verb=request.verb,
            status=answer.status_code,
            job=job,
            key=request.key,
            body=request.body,
            asked=request.asked,
        )
        self.history.add(told)
        if good and request.verb == "create" and job is not None and job not in self.jobs:
            self.jobs.append(job)
        return job

    def create(self, *, body: int = 0, key: str | None = None) -> str:
        """A job, at once."""
        job = self.answer(self.submit(body=body, key=key))
        assert job is not None
        return job

    def ask_as_other(self, verb: str, job: str) -> None:
        """Another project asks for a job, or for its own ones."""
        headers = {"openai-project": self._beginning.other}
        if verb in {"list", "get"}:
            answer = self._client.get(JOBS if verb == "list" else f"{JOBS}/{job}", headers=headers)
        else:
            answer = self._client.post(f"{JOBS}/{job}/{verb}", headers=headers)
        self.history.add(Foreign(verb=verb, status=answer.status_code, told=answer.text))

    # ---- what can be seen -------------------------------------------------------------------

    def look(self) -> dict[str, Seen]:
        """Every row; those that have changed enter the history."""
        with self._database.reading() as session:
            found = session.execute(
                select(JobRow.id, JobRow.status, JobRow.fine_tuned_model, JobRow.error).order_by(JobRow.id)
            ).all()
        seen: dict[str, Seen] = {}
        for job, status, model, error in found:
            code = None if error is None else str(error["code"])
            seen[job] = Seen(job=job, status=status, model=model, error=code)
            if self._last_seen.get(job) != seen[job]:
                self.history.add(seen[job])
        self._last_seen = seen
        return seen

    def shown(self, path: str) -> list[dict[str, Any]]:
        """A list of the API's."""
        answer = self._client.get(path)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    # ---- the database -----------------------------------------------------------------------

    def back_up(self) -> None:
        """As an operator does every hour."""
        path = self._home / f"backup{len(self.backups)}.db"
        with (
            closing(sqlite3.connect(self._home / "temper.db")) as now,
            closing(sqlite3.connect(path)) as copy,
        ):
            now.backup(copy)
        self.backups.append(path)

    def restore(self, number: int) -> None:
        """Everything of the service is stopped, its database is an older one, and is recovered from the store."""
        for request in list(self.requests):
            self._end(request, killed=True)
        self.requests.clear()
        for name in NAMES:
            self.reconcilers[name].process.dead = True
        self.look()
        self._database.close()
        backup = self.backups[number % len(self.backups)]
        with (
            closing(sqlite3.connect(backup)) as old,
            closing(sqlite3.connect(self._home / "temper.db")) as now,
        ):
            old.backup(now)
        self._last_seen = {}
        with self._database.reading() as session:
            rows = frozenset(session.scalars(select(JobRow.id)))
        prefix = layout.records_prefix("work")
        recorded = frozenset(
            key.removeprefix(prefix).removesuffix(".json")
            for key in self.objects.held
            if key.startswith(prefix)
        )
        self.history.add(Restored(recorded=recorded, rows=rows))
        operator = Process(self._name("operator"), self.turns)
        recover(self._database, StoreView(self.objects, operator), now=self.time)
        self.start_api()
        for name in NAMES:
            self.start_reconciler(name)
        self.look()

    # ---- time -------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Time goes by for everybody."""
        self.time += seconds
        self.history.add(Waited(seconds=seconds))

    # ---- the end ----------------------------------------------------------------------------

    def heal(self) -> None:
        """Nothing fails any more, and everything is carried to its end. Fails unless it becomes quiet."""
        self.cluster.lags = False
        for there in self.reconcilers.values():
            there.process.store_away = there.process.launcher_away = False
            there.process.fault = None
        for request in list(self.requests):
            self.answer(request)
        for name in NAMES:
            self.advance_reconciler(name)
        for _ in range(HEAL_ROUNDS):
            if self._round() and not self.cluster.jobs:
                self.look()
                return
        raise AssertionError(f"never quiet: {self.look()}, runs {sorted(self.cluster.jobs)}")

    def _round(self) -> bool:
        """Ticks, pods and time. Returns whether nothing was left to do."""
        for job, seen in self.look().items():
            if seen.status not in TERMINAL and self._is_paused(job):
                self.answer(self.decide("resume", job))
        before = len(self.history.entries)
        self.tick(2)
        for pod in self.cluster.pods:
            pod.strand.advance()
        for name, run in list(self.cluster.jobs.items()):
            if run.exit_code is None and not run.pods and not run.stopping:
                self.cluster.start_pod(name).strand.advance()
            run.note_ends()
            if run.stopping:
                self.cluster.reap(name)
        over = all(seen.status in TERMINAL for seen in self.look().values())
        nothing = all(not isinstance(entry, Wrote) for entry in self.history.entries[before:])
        self.wait(HEAL_STEP_S)
        return over and nothing

    def _is_paused(self, job: str) -> bool:
        with self._database.reading() as session:
            row = session.get(JobRow, job)
        return row is not None and row.pause_requested

    def close(self) -> None:
        """End every thread."""
        for request in self.requests:
            request.strand.kill()
        for there in self.reconcilers.values():
            there.process.dead = True
            if there.strand is not None:
                there.strand.kill()
        for pod in self.cluster.pods:
            pod.kill()
        self._database.close()


_OF_THREAD = threading.local()


def through_views(stand_in: ModuleType) -> None:
    """Let the stand-in's program reach the store of the pod in whose thread it runs."""
    stand_in.open_store = lambda _uri: _OF_THREAD.store  # type: ignore[attr-defined]
    stand_in.locate = lambda uri: (_OF_THREAD.store, uri.removeprefix("s3://lifecycle/"))  # type: ignore[attr-defined]


def open_quickly(url: str) -> Database:
    """A SQLite that does not wait for the disk: the machine of a test does not lose its power."""
    database = Database(url)

    def configure(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(database.engine, "connect", configure)
    return database


def bare_context(home: Path, migrated: Path) -> Context:
    """Enough to make an app that gets a world's context later; rates and the journal stay with this one."""
    settings = settings_from_env({"TEMPER_HOME": str(home)})
    shutil.copy(migrated, home / "temper.db")
    process = Process("nobody", Turns())
    store = StoreView(Objects(History()), process)
    return Context(
        settings=settings, database=open_quickly(settings.database_url), store=store, checks=Inline()
    )


def begin(home: Path, migrated: Path, app: FastAPI, client: TestClient, stand_in: ModuleType) -> Beginning:
    """Make what every world begins with, by the API itself."""
    empty = Beginning(database=migrated, held={}, file_id="", other="")
    world = World(home, empty, app, client, stand_in)
    add_tiny(app.state.context)
    answer = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", ROWS)})
    assert answer.status_code == 200, answer.text
    other = client.post("/v1/organization/projects", json={"name": "other"})
    assert other.status_code == 200, other.text
    world.close()
    return Beginning(
        database=home / "temper.db",
        held=dict(world.objects.held),
        file_id=str(answer.json()["id"]),
        other=str(other.json()["id"]),
    )
