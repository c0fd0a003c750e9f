"""Looks, lets :mod:`service.reconcile.tick` decide, acts; again and again in one thread.

One process at a time runs this on one database: the embedded service holds its home directory's lock.
"""

import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter
from prometheus_client import Gauge
from prometheus_client import Histogram

from deploy.contract import layout
from deploy.contract.dataset.validation import DatasetSummary
from deploy.contract.dataset.validation import validate_in_child
from deploy.contract.result import JobFailure
from deploy.endpoint.protocol import EndpointBackend
from deploy.launch.protocol import Launcher
from deploy.launch.protocol import Run
from service.context import Context
from service.endpoints import repository as endpoints
from service.jobs import repository as jobs
from service.reconcile import ingest
from service.reconcile import serving
from service.reconcile import tick as decisions
from service.reconcile.background import TRANSIENT
from service.reconcile.background import Background
from service.reconcile.endpoint_actions import EndpointActions
from service.reconcile.ingest import Heard
from service.reconcile.ingest import Listener
from service.reconcile.job_actions import JobActions
from service.tables import JobRow

logger = logging.getLogger(__name__)
HEARTBEAT_AGE_S: Final = 60.0
STATUSES: Final = ("validating_files", "queued", "running")
ENDPOINT_STATUSES: Final = ("queued", "starting", "ready", "stopping")


class Reconciler:
    """Brings jobs and endpoints where their rows want them.

    Args:
        context: of the process.
        launcher: runs attempts.
        backend: serves models.
        validate: checks a dataset; the real one starts a child process.
    """

    def __init__(
        self,
        context: Context,
        launcher: Launcher,
        backend: EndpointBackend,
        *,
        validate: Callable[..., DatasetSummary] = validate_in_child,
    ) -> None:
        self._context = context
        self._launcher = launcher
        self._backend = backend
        self._background = Background()
        self._job_actions = JobActions(context, launcher, self._background, validate=validate)
        self._endpoint_actions = EndpointActions(context, backend, self._background)
        self._listener = Listener(context.store)
        self._known: set[str] = set()
        self._limits = decisions.Limits(
            max_failures=context.settings.max_attempts,
            max_running=context.settings.max_running_jobs,
            deadline_s=float(context.settings.job_deadline_s),
        )
        registry = context.metrics.registry
        self._ticks = Histogram(
            "temper_reconcile_tick_duration_seconds", "Seconds that one tick took.", registry=registry
        )
        self._failures = Counter(
            "temper_reconcile_failures_total", "Ticks or actions that failed.", ("kind",), registry=registry
        )
        self._actions = Counter(
            "temper_reconcile_actions_total", "Actions taken.", ("action",), registry=registry
        )
        self._gauge = Gauge("temper_jobs", "Jobs that are not over.", ("status",), registry=registry)
        self._endpoints_gauge = Gauge(
            "temper_endpoints", "Endpoints that have not ended.", ("status",), registry=registry
        )

    def tick(self) -> int:
        """Look and act once. Returns how many actions there were."""
        with self._ticks.time():
            return self._tick_jobs() + self._tick_endpoints()

    def close(self) -> None:
        """Stop local runs and servers, and finish background work."""
        self._launcher.close()
        self._backend.close()
        self._background.close()

    # ---- jobs -------------------------------------------------------------------------------

    def _tick_jobs(self) -> int:
        runs = dict(self._launcher.observe())  # before the rows: see tick()
        with self._context.database.reading() as session:
            rows = {row.id: row for row in jobs.unfinished(session)}
        self._count(rows)
        failures = self._listen(rows, runs)
        self._job_actions.stopping &= set(runs)
        observed = decisions.Observed(
            runs=runs,
            results=frozenset(job_id for job_id in rows if self._has_result(job_id)),
            failures=failures,
            inputs=_known_outcomes(rows, self._job_actions.validation),
            outputs=_known_outcomes(rows, self._job_actions.verification),
            stopping=frozenset(self._job_actions.stopping),
        )
        desired = [desired_job(row) for row in rows.values()]
        actions = decisions.tick(desired, observed, self._context.clock.now(), limits=self._limits)
        for action in actions:
            with self._guard(type(action).__name__):
                self._job_actions.apply(action, rows)
        return len(actions)

    def _has_result(self, job_id: str) -> bool:
        return self._context.store.info(layout.result_key(job_id)) is not None

    def _count(self, rows: Mapping[str, JobRow]) -> None:
        for status in STATUSES:
            self._gauge.labels(status).set(sum(row.status == status for row in rows.values()))
        for job_id in self._known - set(rows):
            self._listener.forget(job_id)
            self._job_actions.forget(job_id)
        self._known = set(rows)

    def _listen(self, rows: Mapping[str, JobRow], runs: Mapping[str, Run]) -> dict[str, JobFailure]:
        failures: dict[str, JobFailure] = {}
        for row in rows.values():
            if row.attempt == 0:
                continue
            name = layout.job_name(row.id, row.attempt)
            heard = self._listener.listen(row.id, row.attempt)
            if heard.failure is not None:
                failures[name] = heard.failure
            if heard.malformed:
                self._failures.labels("malformed_event").inc(heard.malformed)
            run = runs.get(name)
            self._keep(row, heard, going_on=run is not None and not decisions.is_over(run))
        return failures

    def _keep(self, row: JobRow, heard: Heard, *, going_on: bool) -> None:
        if not heard.events:
            return
        values: dict[str, object] = {"progress": ingest.progress_of(row.progress, heard)}
        left_s = ingest.eta_s(heard)
        if left_s is not None:
            values["estimated_finish"] = int(self._context.clock.now() + left_s)
        if going_on and not row.pause_requested:
            values["phase"] = heard.events[-1][1].phase
        try:
            with self._context.database.writing() as session:
                ingest.keep_events(session, row.id, row.attempt, heard, now=self._context.clock.now())
                jobs.show_progress(session, row.id, row.attempt, **values)
        except TRANSIENT:
            self._listener.again(row.id, row.attempt)
            raise

    # ---- endpoints --------------------------------------------------------------------------

    def _tick_endpoints(self) -> int:
        servers = dict(self._backend.observe())
        with self._context.database.reading() as session:
            rows = {row.id: row for row in endpoints.unfinished(session)}
        desired = [
            serving.DesiredEndpoint(
                id=row.id,
                status=row.status,  # type: ignore[arg-type]  # the column holds nothing else
                url=row.url,
                remove_requested=row.remove_requested,
            )
            for row in rows.values()
        ]
        for status in ENDPOINT_STATUSES:
            self._endpoints_gauge.labels(status).set(sum(row.status == status for row in rows.values()))
        actions = serving.tick(desired, servers, max_endpoints=self._context.settings.max_endpoints)
        for action in actions:
            with self._guard(type(action).__name__):
                self._endpoint_actions.apply(action, rows)
        return len(actions)

    @contextmanager
    def _guard(self, kind: str) -> Iterator[None]:
        """One action that cannot be done now must not keep the others from being done."""
        try:
            yield
            self._actions.labels(kind).inc()
        except TRANSIENT as error:
            self._failures.labels(kind).inc()
            logger.warning("%s failed and will be tried again: %s", kind, error)

    # ---- the thread -------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Tick until told to stop. The supervisor: nothing that a tick raises ends the thread."""
        heartbeat = self._context.heartbeats.register("reconciler", max_age_s=HEARTBEAT_AGE_S)
        while not stop.is_set():
            started = time.monotonic()
            try:
                self.tick()
                heartbeat.beat()
            except TRANSIENT as error:
                self._failures.labels("tick").inc()
                logger.warning("tick failed and will be tried again: %s", error)
            except Exception:  # the reconciler's supervisor
                self._failures.labels("tick").inc()
                logger.exception("tick failed")
            stop.wait(max(0.0, self._context.settings.reconcile_interval_s - (time.monotonic() - started)))


def _known_outcomes(
    rows: Mapping[str, JobRow], look: Callable[[str], decisions.Checked | None]
) -> dict[str, decisions.Checked]:
    outcomes = ((job_id, look(job_id)) for job_id in rows)
    return {job_id: checked for job_id, checked in outcomes if checked is not None}


def desired_job(row: JobRow) -> decisions.DesiredJob:
    """A row, as far as decisions need it."""
    return decisions.DesiredJob(
        id=row.id,
        status=row.status,  # type: ignore[arg-type]  # the column holds nothing else
        wanted=decisions.Wanted.PAUSE if row.pause_requested else decisions.Wanted.RUN,
        paused=row.phase == "paused",
        attempt=row.attempt,
        next_attempt_at=row.next_attempt_at,
        failures=row.failures,
        launched_at=row.launched_at,
    )


@contextmanager
def reconciling(reconciler: Reconciler) -> Iterator[None]:
    """Run a reconciler in a thread of its own for as long as the block lasts."""
    stop = threading.Event()
    thread = threading.Thread(target=reconciler.run, args=(stop,), name="reconciler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        reconciler.close()
