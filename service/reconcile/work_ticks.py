"""One tick of one kind of work: looks at rows, store and runs, lets :mod:`service.reconcile.tick` decide, acts."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Final
from typing import Generic

from deploy.contract import layout
from deploy.contract.result import JobFailure
from deploy.launch.protocol import Launcher
from deploy.launch.protocol import Run
from service.context import Context
from service.reconcile import ingest
from service.reconcile import tick as decisions
from service.reconcile.background import TRANSIENT
from service.reconcile.background import Background
from service.reconcile.ingest import Heard
from service.reconcile.ingest import Listener
from service.reconcile.instruments import Instruments
from service.reconcile.kind import WorkKind
from service.reconcile.work_actions import WorkActions
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row

STATUSES: Final = ("validating_files", "queued", "running")


class WorkTicks(Generic[Row, EventRow, RequestRow]):
    """Brings the rows of one kind where they are wanted."""

    def __init__(
        self,
        context: Context,
        launcher: Launcher,
        background: Background,
        kind: WorkKind[Row, EventRow, RequestRow],
        instruments: Instruments,
    ) -> None:
        self._context = context
        self._kind = kind
        self._instruments = instruments
        self._actions = WorkActions(context, launcher, background, kind)
        self._listener = Listener(context.store)
        self._known: set[str] = set()

    def tick(self, runs: Mapping[str, Run]) -> int:
        """Look and act once. ``runs`` are those of this kind, observed before. Returns how many actions there were."""
        with self._context.database.reading() as session:
            rows = {row.id: row for row in self._kind.repository.unfinished(session)}
        self._count(rows)
        failures = self._listen(rows, runs)
        self._actions.stopping &= set(runs)
        observed = decisions.Observed(
            runs=runs,
            results=frozenset(work_id for work_id in rows if self._has_result(work_id)),
            failures=failures,
            inputs=_known_outcomes(rows, self._actions.validation),
            outputs=_known_outcomes(rows, self._actions.verification),
            stopping=frozenset(self._actions.stopping),
        )
        desired = [self._kind.desired(row) for row in rows.values()]
        now = self._context.clock.now()
        actions = decisions.tick(desired, observed, now, limits=self._kind.limits)
        for action in actions:
            with self._instruments.guard(type(action).__name__):
                self._actions.apply(action, rows)
        return len(actions)

    def _has_result(self, work_id: str) -> bool:
        return self._context.store.info(layout.result_key(work_id)) is not None

    def _count(self, rows: Mapping[str, Row]) -> None:
        gauge = self._instruments.work[self._kind.run_kind]
        for status in STATUSES:
            gauge.labels(status).set(sum(row.status == status for row in rows.values()))
        for work_id in self._known - set(rows):
            self._listener.forget(work_id)
            self._actions.forget(work_id)
        self._known = set(rows)

    def _listen(self, rows: Mapping[str, Row], runs: Mapping[str, Run]) -> dict[str, JobFailure]:
        failures: dict[str, JobFailure] = {}
        for row in rows.values():
            if row.attempt == 0:
                continue
            name = layout.job_name(row.id, row.attempt)
            heard = self._listener.listen(row.id, row.attempt)
            if heard.failure is not None:
                failures[name] = heard.failure
            if heard.malformed:
                self._instruments.failures.labels("malformed_event").inc(heard.malformed)
            run = runs.get(name)
            self._keep(row, heard, going_on=run is not None and not decisions.is_over(run))
        return failures

    def _keep(self, row: Row, heard: Heard, *, going_on: bool) -> None:
        if not heard.events:
            return
        now = self._context.clock.now()
        values: dict[str, object] = {"progress": self._kind.progress(row, heard)}
        left_s = ingest.eta_s(heard)
        if left_s is not None:
            values["estimated_finish"] = int(now + left_s)
        if going_on and self._kind.desired(row).wanted is decisions.Wanted.RUN:
            values["phase"] = heard.events[-1][1].phase
        repository = self._kind.repository
        try:
            with self._context.database.writing() as session:
                ingest.keep_events(session, repository, row.id, row.attempt, heard, now=now)
                self._kind.keep(session, row, heard, now=now)
                repository.show_progress(session, row.id, row.attempt, **values)
        except TRANSIENT:
            self._listener.again(row.id, row.attempt)
            raise


def _known_outcomes(
    rows: Mapping[str, object], look: Callable[[str], decisions.Checked | None]
) -> dict[str, decisions.Checked]:
    outcomes = ((work_id, look(work_id)) for work_id in rows)
    return {work_id: checked for work_id, checked in outcomes if checked is not None}
