"""Carries out what :mod:`service.reconcile.tick` decides. Every method may be called again after a crash.

What only changes a row is done by the reconciler's own thread. What asks the store or the launcher is an errand,
done in a thread of its own: it reads its row anew, does nothing when the row is not the one that was decided on, and
returns what is left for the reconciler's thread to do.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from typing import Final
from typing import Generic

from deploy.contract import layout
from deploy.contract.document import DocumentError
from deploy.contract.document import sha256_hex
from deploy.launch.protocol import Launch
from deploy.launch.protocol import LaunchError
from deploy.store.opening import object_uri
from deploy.store.protocol import ObjectMissing
from service.reconcile import actions as decisions
from service.reconcile import listener
from service.reconcile.errands import Continuation
from service.reconcile.kind import WorkKind
from service.reconcile.observation import LAUNCHING
from service.reconcile.observation import Checked
from service.reconcile.observation import Problem
from service.reconcile.observation import Told
from service.reconcile.recollection import Recollection
from service.reconcile.tick import STOP_GRACE_S
from service.reconcile.tools import Tools
from service.work import history
from service.work.inputs import BadInputs
from service.work.progress import waiting_of
from service.work.progress import with_waiting
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.stored import BadResult

logger = logging.getLogger(__name__)
LOG_LINES: Final = 5000


class WorkActions(Generic[Row, EventRow, RequestRow]):
    """The hands of the reconciler, for one kind of work."""

    def __init__(self, tools: Tools, kind: WorkKind[Row, EventRow, RequestRow], memory: Recollection) -> None:
        self._context = tools.context
        self._launcher = tools.launcher
        self._background = tools.background
        self._failures = tools.instruments.failures
        self._kind = kind
        self._memory = memory

    def change(self, action: decisions.Change, row: Row) -> None:
        """Change a row, which is as it was when this was decided."""
        match action:
            case decisions.ValidateInputs():
                self._background.submit(("validate", row.id), partial(self._check_inputs, row))
            case decisions.Enqueue():
                self._enqueue(row)
            case decisions.ShowWaiting():
                self._show_waiting(row, action)
            case decisions.MarkRunning():
                self._mark_running(row)
            case decisions.VerifyResult():
                self._background.submit(("verify", row.id), partial(self._check_result, row.id))
            case decisions.Succeed():
                self._succeed(row)
            case decisions.Fail(problem=problem):
                self._fail(row, problem)
            case decisions.Retry():
                self._retry(row, action)
            case decisions.SetPaused():
                self._write(row, "The job is paused.", status="queued", phase="paused", next_attempt_at=None)

    def start(self, action: decisions.Start, read: Callable[[], Row | None]) -> Continuation | None:
        """Prepare, launch or adopt an attempt, in any thread.

        Args:
            action: what was decided.
            read: the row that was decided on, or None when it has changed since.
        """
        row = read()
        if row is None:
            return None
        match action:
            case decisions.PrepareAttempt(attempt=attempt):
                self._prepare(row, attempt)
                return None
            case decisions.LaunchAttempt(attempt=attempt):
                return self._launch(row, attempt)
            case decisions.AdoptAttempt(attempt=attempt):
                return self._adopt(row, attempt)

    def clear(self, action: decisions.Clear) -> Continuation:
        """Stop or remove a run, in any thread."""
        match action:
            case decisions.StopRun():
                return self._stop(action)
            case decisions.RemoveRun(name=name):
                return self._remove(name)

    def _write(self, row: Row, said: str | None, *, level: history.Level = "info", **values: Any) -> bool:
        with self._context.database.writing() as session:
            changed = self._kind.repository.change(session, row, **values)
            if changed and said is not None:
                now = self._context.clock.now()
                history.record(session, self._kind.repository, row, said, at=now, level=level)
        return changed

    # ---- inputs -----------------------------------------------------------------------------

    def validation(self, work_id: str) -> Checked | None:
        """The outcome of a validation that has ended."""
        outcome = self._background.outcome(("validate", work_id))
        if isinstance(outcome, BadInputs):
            return Checked(problem=Problem(code=outcome.code, message=outcome.message, param=outcome.param))
        return None if outcome is None else Checked()

    def _check_inputs(self, row: Row) -> object:
        try:
            return self._kind.check_inputs(row)
        except BadInputs as refusal:
            return refusal

    def _enqueue(self, row: Row) -> None:
        inputs = self._background.outcome(("validate", row.id))
        self._write(
            row,
            self._kind.validated,
            status="queued",
            phase="queued",
            next_attempt_at=int(self._context.clock.now()),
            **self._kind.accepted(inputs),
        )
        self._background.forget(("validate", row.id))

    # ---- attempts ---------------------------------------------------------------------------

    def _prepare(self, row: Row, attempt: int) -> None:
        store = self._context.store
        key = layout.spec_key(row.id, attempt)
        data = self._kind.make_spec(row, attempt).to_bytes()
        if not store.put_once(key, data):
            # Written before a crash by another version of this service: a spec is never changed.
            data = store.get(key)
            self._kind.spec.from_bytes(data)
        self._write(
            row, None, attempt=attempt, spec_sha256=sha256_hex(data), next_attempt_at=None, launched_at=None
        )

    def _launch(self, row: Row, attempt: int) -> Continuation | None:
        if row.spec_sha256 is None:
            raise ValueError(f"{row.id} has no spec for attempt {attempt}")
        if row.launched_at is None and not self._write(row, None, **self._launching(row)):
            return None
        name = layout.job_name(row.id, attempt)
        order = Launch(
            name=name,
            spec_uri=object_uri(self._context.store, layout.spec_key(row.id, attempt)),
            spec_sha256=row.spec_sha256,
            deadline_s=int(self._kind.limits.deadline_s),
            kind=self._kind.run_kind,
            resources=self._kind.resources(row),
            queue=self._kind.queue(row),
        )
        try:
            self._launcher.launch(order)
        except LaunchError as error:
            self._failures.labels("LaunchAttempt").inc()
            logger.warning("%s", error)
            now, said = self._context.clock.now(), str(error)
            return lambda: self._memory.note_refused(row.id, said, now)
        launched = time.monotonic()
        return lambda: self._memory.launched.update({name: launched})

    def _launching(self, row: Row) -> dict[str, Any]:
        now = int(self._context.clock.now())
        return {"launched_at": now, "started_at": row.started_at or now, "phase": LAUNCHING}

    def _adopt(self, row: Row, attempt: int) -> Continuation | None:
        name = layout.job_name(row.id, attempt)
        sha256 = self._spec_of_ours(row, attempt)
        if sha256 is None:
            logger.warning("%s has a spec that is not its job's and is stopped", name)
            return self._stop(decisions.StopRun(name=name, grace_s=STOP_GRACE_S))
        said = f"Attempt {attempt} was found going on and taken over."
        self._write(
            row,
            said,
            level="warn",
            attempt=attempt,
            spec_sha256=sha256,
            next_attempt_at=None,
            **self._launching(row),
        )
        return None

    def _spec_of_ours(self, row: Row, attempt: int) -> str | None:
        """SHA-256 of an attempt's stored spec; None unless it says what this row's would."""
        try:
            data = self._context.store.get(layout.spec_key(row.id, attempt))
            written = self._kind.spec.from_bytes(data)
        except (ObjectMissing, DocumentError):
            return None
        return sha256_hex(data) if written == self._kind.make_spec(row, attempt) else None

    def _show_waiting(self, row: Row, action: decisions.ShowWaiting) -> None:
        phase = LAUNCHING if action.launching else "queued" if action.queued else "pending"
        if row.phase != phase or waiting_of(row.progress) != action.reason:
            said = None if action.reason is None else f"The run waits: {action.reason.rstrip('.')}."
            progress = with_waiting(row.progress, action.reason)
            if not self._write(row, said, phase=phase, progress=progress):
                return
        now = self._context.clock.now()
        self._memory.told[row.id] = Told(reason=action.reason, queued=action.queued, at=now)

    def _mark_running(self, row: Row) -> None:
        said = self._kind.started if row.status == "queued" else f"Attempt {row.attempt} started"
        self._write(
            row,
            said,
            status="running",
            phase="preparing",
            launched_at=int(self._context.clock.now()),
            progress=with_waiting(row.progress, None),
        )
        # Should it wait again (its machine is drained, its queue takes it back), that is news.
        self._memory.told.pop(row.id, None)

    def _retry(self, row: Row, action: decisions.Retry) -> None:
        self._write(
            row,
            f"Attempt {action.attempt} is over: {action.reason}. Another one follows.",
            level="warn",
            phase="retrying",
            next_attempt_at=int(action.at),
            failures=row.failures + action.counts,
            estimated_finish=None,
        )

    # ---- runs -------------------------------------------------------------------------------

    def _stop(self, action: decisions.StopRun) -> Continuation:
        if action.orphan:
            if self._is_remembered(action.name):
                said = "%s is of a job that only the store knows: recover the database (temper recover); it goes on"
                logger.error(said, action.name)
                return lambda: self._memory.spared.update({action.name: self._context.clock.now()})
            logger.warning("%s belongs to no job of ours and is stopped", action.name)
        self._launcher.stop(action.name, grace_s=action.grace_s)
        return lambda: self._memory.stopping.add(action.name)

    def _is_remembered(self, name: str) -> bool:
        """Whether the store knows the job of a run without a row, and of no end of it.

        A service that was started on an empty or old database by mistake must not end what runs for days.
        """
        identity = layout.job_of_name(name)
        if identity is None:
            return False
        work_id, attempt = identity
        ends = (layout.result_key(work_id), layout.record_key("ended", work_id))
        store = self._context.store
        known = store.info(layout.spec_key(work_id, attempt)) is not None
        return known and all(store.info(key) is None for key in ends)

    def _remove(self, name: str) -> Continuation:
        identity = layout.job_of_name(name)
        if identity is not None:
            self._keep_log(name, *identity)
        self._launcher.remove(name)
        return lambda: self._memory.stopping.discard(name)

    def _keep_log(self, name: str, work_id: str, attempt: int) -> None:
        tail = self._launcher.log_tail(name, lines=LOG_LINES)
        if not tail:
            return
        store = self._context.store
        pods = listener.pods(store, work_id, attempt)
        key = layout.log_key(work_id, attempt, pods[-1] if pods else "no-pod")
        if store.info(key) is None:
            store.put(key, tail.encode("utf-8", errors="replace"))

    # ---- the end ----------------------------------------------------------------------------

    def verification(self, work_id: str) -> Checked | None:
        """The outcome of a verification that has ended."""
        outcome = self._background.outcome(("verify", work_id))
        if isinstance(outcome, BadResult):
            message = f"The {self._kind.run_kind}'s result cannot be trusted: {outcome}."
            return Checked(problem=Problem(code="bad_result", message=message))
        return None if outcome is None else Checked()

    def _check_result(self, work_id: str) -> object:
        try:
            return self._kind.verify(work_id)
        except BadResult as refusal:
            return refusal

    def _succeed(self, row: Row) -> None:
        verified = self._background.outcome(("verify", row.id))
        with self._context.database.writing() as session:
            self._kind.publish(session, row, verified, now=self._context.clock.now())

    def _fail(self, row: Row, problem: Problem) -> None:
        self._write(
            row,
            problem.message,
            level="error",
            status="failed",
            phase="failed",
            error={"code": problem.code, "message": problem.message, "param": problem.param},
            finished_at=int(self._context.clock.now()),
            next_attempt_at=None,
            estimated_finish=None,
        )

    def forget(self, work_id: str) -> None:
        """It is over: keep nothing of it in memory."""
        self._background.forget(("validate", work_id))
        self._background.forget(("verify", work_id))
