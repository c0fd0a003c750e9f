"""One tick of one kind of work: looks at rows, runs and store, lets :mod:`service.reconcile.tick` decide, acts.

What a tick costs grows with what has changed, not with what there is. Runs come from the launcher's memory. The
store is asked for a result when a run has ended; of what goes on, a few are listened to, those first whose last turn
is the longest ago: each time where there are few, every so many ticks where there are a thousand. Of the rows only
small columns are read, whole rows only of what is acted on.
"""

import time
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from typing import Final
from typing import Generic
from typing import TypeVar

from deploy.contract import layout
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunPhase
from service.limits.fleet import limits_of
from service.limits.fleet import without_gpu_hours
from service.limits.numbers import Limits
from service.reconcile import actions as decisions
from service.reconcile import ingest
from service.reconcile import listener
from service.reconcile.errands import Continuation
from service.reconcile.errands import Errand
from service.reconcile.kind import WorkKind
from service.reconcile.listener import Heard
from service.reconcile.observation import Checked
from service.reconcile.observation import DesiredWork
from service.reconcile.observation import Looked
from service.reconcile.observation import Observed
from service.reconcile.observation import Wanted
from service.reconcile.recollection import LINGER_S
from service.reconcile.recollection import Look
from service.reconcile.recollection import Recollection
from service.reconcile.tick import tick
from service.reconcile.tools import Tools
from service.reconcile.work_actions import WorkActions
from service.work.ends import TERMINAL
from service.work.fleet import WorkFleet
from service.work.progress import heard_of
from service.work.progress import numbers_of
from service.work.progress import with_heard
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row

T = TypeVar("T")
STATUSES: Final = ("validating_files", "queued", "running")
SPARE_S: Final = 60.0
"""After which it is looked again whether a run without a row is to be spared."""
LISTENED_AT_ONCE: Final = 32
"""Of a thousand jobs, each is heard about twice a minute."""
ASKED_AT_ONCE: Final = 8
"""A thousand jobs are asked for once in two minutes."""
LISTEN_S: Final = 0.3
"""So long a tick waits for what is told; what comes later is kept by the next one."""
SHARES_S: Final = 5.0
"""So long what a project may run is not read again."""
ACT_S: Final = 0.5
"""So long a tick acts; what is left is decided anew by the next one."""


class WorkTicks(Generic[Row, EventRow, RequestRow]):
    """Brings the rows of one kind where they are wanted."""

    def __init__(self, tools: Tools, kind: WorkKind[Row, EventRow, RequestRow]) -> None:
        self._context = tools.context
        self._errands = tools.errands
        self._instruments = tools.instruments
        self._leads = tools.leads
        self._kind = kind
        self._memory = Recollection()
        self._actions = WorkActions(tools, kind, self._memory)
        self._known: set[str] = set()
        self._begun = 0
        self._shares_until = 0.0
        self._shares_known: Mapping[str, Limits] = {}
        self._withheld: frozenset[str] = frozenset()
        self._defects: list[BaseException] = []
        self.eager = False
        """Whether something was found that the next tick should not be kept waiting for."""

    def begin(self) -> None:
        """This process leads from now on, and may have led before: what it remembers may be wrong."""
        self._memory.clear()

    def tick(self, runs: Mapping[str, Run], *, observed_at: float) -> int:
        """Look and act once. Returns how many actions there were to take.

        Args:
            runs: those of this kind, observed before.
            observed_at: monotonic seconds of the moment that they show.
        """
        self.eager = False
        self._defects.clear()
        rows = self._read_rows(runs)
        self._count(rows)
        self._memory.keep_only(self._known, runs, observed_at=observed_at)
        desired = {row.id: self._kind.desired(row) for row in rows.values()}
        self._listen(rows, desired, runs)
        now = self._context.clock.now()
        observed = replace(self._observe(rows, desired, runs, now), **self._shares(desired.values(), now))
        actions = tick(list(desired.values()), observed, now, limits=self._kind.limits)
        self._act(actions, rows, runs)
        if self._defects:
            raise self._defects.pop()
        return len(actions)

    # ---- looking ----------------------------------------------------------------------------

    def _read_rows(self, runs: Mapping[str, Run]) -> dict[str, Row]:
        """Outlines of what is not over, and of what is over and still has a run."""
        fleet = WorkFleet(self._kind.repository)
        with self._context.database.reading() as session:
            rows = {row.id: row for row in fleet.outlines_of_unfinished(session)}
            owners = {identity[0] for name in runs if (identity := layout.job_of_name(name)) is not None}
            rows |= {row.id: row for row in fleet.outlines(session, owners - rows.keys())}
        return rows

    def _shares(self, desired: Iterable[DesiredWork], now: float) -> dict[str, Any]:
        """What the projects may run whose work waits for its turn."""
        waiting = {job.project for job in desired if job.next_attempt_at is not None}
        if not waiting:
            return {}
        if now >= self._shares_until or not waiting <= self._shares_known.keys():
            with self._context.database.reading() as session:
                self._shares_known = limits_of(session, waiting, self._context.settings.limits)
                self._withheld = without_gpu_hours(session, self._shares_known)
            self._shares_until = now + SHARES_S
        at_once = {
            project: limits.running_jobs
            for project, limits in self._shares_known.items()
            if limits.running_jobs is not None
        }
        # A scan takes no GPU.
        return {
            "at_once": at_once,
            "withheld": self._withheld if self._kind.run_kind == "job" else frozenset(),
        }

    def _count(self, rows: Mapping[str, Row]) -> None:
        gauge = self._instruments.work[self._kind.run_kind]
        for status in STATUSES:
            gauge.labels(status).set(sum(row.status == status for row in rows.values()))
        known = {row.id for row in rows.values() if row.status not in TERMINAL}
        for work_id in self._known - known:
            self._actions.forget(work_id)
        self._known = known

    def _observe(
        self,
        rows: Mapping[str, Row],
        desired: Mapping[str, DesiredWork],
        runs: Mapping[str, Run],
        now: float,
    ) -> Observed:
        memory = self._memory
        looked: dict[str, Looked] = {}
        gone: set[str] = set()
        for work_id in self._known:
            row = rows[work_id]
            run = _newest_run(row, runs)
            found = memory.looked(work_id, version=row.version, phase=run.phase if run else None, now=now)
            if found is not None:
                looked[work_id] = found
            if run is not None or not row.attempt or not desired[work_id].seen:
                memory.missing.pop(work_id, None)
            elif memory.note_missing(work_id, now):
                gone.add(layout.job_name(work_id, row.attempt))
            if run is not None:
                memory.refused.pop(work_id, None)
            if run is not None and run.phase is RunPhase.RUNNING:
                memory.note_running(run.name, now, stall_s=self._kind.stall_s)
        return Observed(
            runs=runs,
            unseen=frozenset(memory.launched),
            gone=frozenset(gone),
            looked=looked,
            inputs=_known_outcomes(self._known, self._actions.validation),
            outputs=_known_outcomes(self._known, self._actions.verification),
            stopping=frozenset(memory.stopping),
            spared=frozenset(name for name, at in memory.spared.items() if now - at < SPARE_S),
            stalled=frozenset(memory.stalled),
            lingering=frozenset(each for each, at in memory.committed.items() if now - at >= LINGER_S),
            told=dict(memory.told),
            refused=dict(memory.refused),
        )

    # ---- listening --------------------------------------------------------------------------

    def _listen(
        self, rows: Mapping[str, Row], desired: Mapping[str, DesiredWork], runs: Mapping[str, Run]
    ) -> None:
        until = time.monotonic() + LISTEN_S
        for work_id in self._memory.waited_longest(self._going_on(rows, desired, runs), LISTENED_AT_ONCE):
            attempt = rows[work_id].attempt
            find_pods = self._memory.take_turn(work_id)
            errand = partial(self._hear, work_id, attempt, find_pods=find_pods)
            if not self._begin(work_id, "Listen", errand, until=until):
                break
        for work_id in self._memory.to_ask(self._known, ASKED_AT_ONCE, self._context.clock.now()):
            key = ("ask", work_id)  # beside whatever else goes on for this job
            if rows[work_id].status == "validating_files" or self._errands.busy(key):
                continue
            run = _newest_run(rows[work_id], runs)
            if not self._begin(key, "Ask", partial(self._ask, rows[work_id], run), until=until):
                break
        self._defects += self._errands.finish(until=until)

    def _ask(self, row: Row, run: Run | None) -> Continuation | None:
        """Whether there is a result that nobody expects: of a restored row, of a run that does not end."""
        if self._context.store.info(layout.result_key(row.id)) is None:
            return None

        def note() -> None:
            if run is not None:
                self._memory.committed.setdefault(row.id, self._context.clock.now())
            elif row.next_attempt_at is not None or row.phase == "paused":
                # Of no attempt that goes on, so there is no last word of a run to be heard first.
                self._note_look(row, run, Looked(result=True))

        return note

    def _going_on(
        self, rows: Mapping[str, Row], desired: Mapping[str, DesiredWork], runs: Mapping[str, Run]
    ) -> list[str]:
        found = []
        for work_id in self._known:
            run = _newest_run(rows[work_id], runs)
            running = run is not None and run.phase is RunPhase.RUNNING
            if running and desired[work_id].began and not self._errands.busy(work_id):
                found.append(work_id)
        return found

    def _hear(self, work_id: str, attempt: int, *, find_pods: bool) -> Continuation | None:
        row = self._whole(work_id, attempt=attempt)
        if row is None:
            return None
        upto = heard_of(row.progress, attempt)
        heard = listener.listen(self._context.store, work_id, attempt, upto, find_pods=find_pods)

        def keep() -> None:
            self._keep(row, heard, going_on=True)

        return keep

    def _keep(self, row: Row, heard: Heard, *, going_on: bool) -> bool:
        """Write down what was heard. Returns whether that could be done."""
        now = self._context.clock.now()
        if going_on:
            name = layout.job_name(row.id, heard.attempt)
            self._memory.note_heard(name, now, news=bool(heard.events))
        if heard.malformed:
            self._instruments.failures.labels("malformed_event").inc(heard.malformed)
        if heard.upto == heard_of(row.progress, heard.attempt):
            return True
        numbers = self._kind.progress(numbers_of(row.progress), heard)
        values: dict[str, object] = {"progress": with_heard(numbers, heard.attempt, heard.upto)}
        left_s = ingest.eta_s(heard)
        if left_s is not None:
            values["estimated_finish"] = int(now + left_s)
        if heard.events and going_on and self._kind.desired(row).wanted is Wanted.RUN:
            values["phase"] = heard.events[-1][1].phase
        repository = self._kind.repository
        kept = False
        with self._instruments.guard("KeepEvents"):
            with self._context.database.writing() as session:
                ingest.keep_events(session, repository, row, heard, now=now)
                self._kind.keep(session, row, heard, now=now)
                repository.show_progress(session, row, heard.attempt, **values)
            kept = True
        return kept

    # ---- acting -----------------------------------------------------------------------------

    def _act(
        self, actions: Iterable[decisions.Action], rows: Mapping[str, Row], runs: Mapping[str, Run]
    ) -> None:
        until = time.monotonic() + ACT_S
        errands: list[decisions.Errand] = []
        changes: list[decisions.Change] = []
        for action in actions:
            if isinstance(action, decisions.Errand):
                errands.append(action)
            else:
                changes.append(action)
        # Where one tick leaves off, the next one begins: what always fails must not keep others from their turn.
        for action in _from(errands, self._begun):
            if not self._run(action, rows, runs, until=until):
                break
            self._begun += 1
        for action in _from(changes, self._begun):
            if time.monotonic() >= until:
                break
            self._begun += 1
            self._change(action, rows)
        self._defects += self._errands.finish(until=until)

    def _change(self, action: decisions.Change, rows: Mapping[str, Row]) -> None:
        with self._instruments.guard(type(action).__name__):
            row = self._whole(action.job_id, version=rows[action.job_id].version)
            if row is not None:
                self._actions.change(action, row)

    def _run(
        self,
        action: decisions.Errand,
        rows: Mapping[str, Row],
        runs: Mapping[str, Run],
        *,
        until: float,
    ) -> bool:
        """Begin an errand. Returns False when there is no place for any."""
        errand: Errand
        match action:
            case decisions.StopRun(name=name) | decisions.RemoveRun(name=name):
                key = name
                errand = partial(self._actions.clear, action)
            case decisions.LookInStore(job_id=key, attempt=attempt):
                errand = partial(self._look, rows[key], attempt, _newest_run(rows[key], runs))
            case _:
                key = action.job_id
                read = partial(self._whole, key, version=rows[key].version)
                errand = partial(self._actions.start, action, read)
        return self._errands.busy(key) or self._begin(key, type(action).__name__, errand, until=until)

    def _begin(self, key: Hashable, what: str, errand: Errand, *, until: float) -> bool:
        def guarded() -> Continuation | None:
            if not self._leads():
                return None
            left = None
            with self._instruments.guard(what):
                left = errand()
            return left

        return self._errands.begin(key, guarded, until=until)

    def _look(self, row: Row, attempt: int, run: Run | None) -> Continuation | None:
        store = self._context.store
        result = store.info(layout.result_key(row.id)) is not None
        if attempt == 0:
            return partial(self._note_look, row, run, Looked(result=result))
        whole = self._whole(row.id, attempt=attempt)
        if whole is None:
            return None
        upto = heard_of(whole.progress, attempt)
        heard = listener.listen(store, row.id, attempt, upto, find_pods=True)
        failures = () if result else listener.failures(store, row.id, attempt)
        found = Looked(result=result, failures=failures)

        def note() -> None:
            # Not before its last word is kept: when the job is over nobody listens to it any more.
            if self._keep(whole, heard, going_on=False) and not heard.full:
                self._note_look(row, run, found)
            self.eager = True

        return note

    def _note_look(self, row: Row, run: Run | None, found: Looked) -> None:
        self._memory.looks[row.id] = Look(
            found=found,
            version=row.version,
            phase=run.phase if run else None,
            at=self._context.clock.now(),
        )
        self.eager = True

    def _whole(self, work_id: str, *, version: int | None = None, attempt: int | None = None) -> Row | None:
        """A whole row, unless it is over or not at this version or attempt any more."""
        with self._context.database.reading() as session:
            row = WorkFleet(self._kind.repository).get(session, work_id)
        if row is None or row.status in TERMINAL:
            return None
        same = version in {None, row.version} and attempt in {None, row.attempt}
        return row if same else None


def _newest_run(row: Row, runs: Mapping[str, Run]) -> Run | None:
    return runs.get(layout.job_name(row.id, row.attempt)) if row.attempt else None


def _from(actions: list[T], start: int) -> list[T]:
    """The same, beginning somewhere else."""
    cut = start % len(actions) if actions else 0
    return actions[cut:] + actions[:cut]


def _known_outcomes(work: Iterable[str], look: Callable[[str], Checked | None]) -> dict[str, Checked]:
    outcomes = ((work_id, look(work_id)) for work_id in work)
    return {work_id: checked for work_id, checked in outcomes if checked is not None}
