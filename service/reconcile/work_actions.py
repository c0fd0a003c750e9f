"""Carries out what :mod:`service.reconcile.tick` decides. Every method may be called again after a crash."""

from functools import partial
from typing import Any
from typing import Final
from typing import Generic

from deploy.contract import layout
from deploy.contract.document import sha256_hex
from deploy.launch.protocol import Launch
from deploy.launch.protocol import Launcher
from deploy.store.opening import object_uri
from service.context import Context
from service.reconcile import tick as decisions
from service.reconcile.background import Background
from service.reconcile.kind import WorkKind
from service.work import history
from service.work.inputs import BadInputs
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.stored import BadResult

LOG_LINES: Final = 5000


class WorkActions(Generic[Row, EventRow, RequestRow]):
    """The hands of the reconciler, for one kind of work."""

    def __init__(
        self,
        context: Context,
        launcher: Launcher,
        background: Background,
        kind: WorkKind[Row, EventRow, RequestRow],
    ) -> None:
        self._context = context
        self._launcher = launcher
        self._background = background
        self._kind = kind
        self.stopping: set[str] = set()

    def apply(self, action: decisions.Action, rows: dict[str, Row]) -> None:
        """Do one thing. ``rows`` are those that the decision was based on."""
        match action:
            case decisions.StopRun(name=name, grace_s=grace_s):
                self._launcher.stop(name, grace_s=grace_s)
                self.stopping.add(name)
            case decisions.RemoveRun(name=name):
                self._remove(name)
            case _:
                self._change(action, rows[action.job_id])

    def _change(self, action: Any, row: Row) -> None:
        match action:
            case decisions.ValidateInputs():
                self._begin_validation(row)
            case decisions.Enqueue():
                self._enqueue(row)
            case decisions.PrepareAttempt(attempt=attempt):
                self._prepare(row, attempt)
            case decisions.LaunchAttempt(attempt=attempt):
                self._launch(row, attempt)
            case decisions.MarkRunning():
                self._write(row, self._kind.started, status="running", phase="preparing")
            case decisions.VerifyResult():
                self._begin_verification(row)
            case decisions.Succeed():
                self._succeed(row)
            case decisions.Fail(problem=problem):
                self._fail(row, problem)
            case decisions.Retry():
                self._retry(row, action)
            case decisions.SetPaused():
                self._write(row, "The job is paused.", status="queued", phase="paused", next_attempt_at=None)

    def _write(self, row: Row, said: str | None, *, level: history.Level = "info", **values: Any) -> bool:
        with self._context.database.writing() as session:
            changed = self._kind.repository.change(session, row, **values)
            if changed and said is not None:
                now = self._context.clock.now()
                history.record(session, self._kind.repository, row, said, at=now, level=level)
        return changed

    # ---- inputs -----------------------------------------------------------------------------

    def validation(self, work_id: str) -> decisions.Checked | None:
        """The outcome of a validation that has ended."""
        outcome = self._background.outcome(("validate", work_id))
        if isinstance(outcome, BadInputs):
            problem = decisions.Problem(code=outcome.code, message=outcome.message, param=outcome.param)
            return decisions.Checked(problem=problem)
        return None if outcome is None else decisions.Checked()

    def _begin_validation(self, row: Row) -> None:
        self._background.submit(("validate", row.id), partial(self._check_inputs, row))

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

    def _launch(self, row: Row, attempt: int) -> None:
        now = int(self._context.clock.now())
        if row.spec_sha256 is None:
            raise ValueError(f"{row.id} has no spec for attempt {attempt}")
        begun: dict[str, Any] = {
            "launched_at": now,
            "started_at": row.started_at or now,
            "phase": "launching",
        }
        if row.launched_at is None and not self._write(row, None, **begun):
            return
        self._launcher.launch(
            Launch(
                name=layout.job_name(row.id, attempt),
                spec_uri=object_uri(self._context.store, layout.spec_key(row.id, attempt)),
                spec_sha256=row.spec_sha256,
                deadline_s=int(self._kind.limits.deadline_s),
                kind=self._kind.run_kind,
                resources=self._kind.resources(row),
                queue=self._kind.queue(row),
            )
        )

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

    def _remove(self, name: str) -> None:
        identity = layout.job_of_name(name)
        if identity is not None:
            self._keep_log(name, *identity)
        self._launcher.remove(name)
        self.stopping.discard(name)

    def _keep_log(self, name: str, work_id: str, attempt: int) -> None:
        tail = self._launcher.log_tail(name, lines=LOG_LINES)
        if not tail:
            return
        store = self._context.store
        prefix = layout.attempt_prefix(work_id, attempt)
        below = (info.key.removeprefix(prefix).partition("/") for info in store.list(prefix))
        pods = [pod for pod, slash, _ in below if slash]
        key = layout.log_key(work_id, attempt, pods[-1] if pods else "no-pod")
        if store.info(key) is None:
            store.put(key, tail.encode("utf-8", errors="replace"))

    # ---- the end ----------------------------------------------------------------------------

    def verification(self, work_id: str) -> decisions.Checked | None:
        """The outcome of a verification that has ended."""
        outcome = self._background.outcome(("verify", work_id))
        if isinstance(outcome, BadResult):
            message = f"The {self._kind.run_kind}'s result cannot be trusted: {outcome}."
            return decisions.Checked(problem=decisions.Problem(code="bad_result", message=message))
        return None if outcome is None else decisions.Checked()

    def _begin_verification(self, row: Row) -> None:
        self._background.submit(("verify", row.id), partial(self._check_result, row.id))

    def _check_result(self, work_id: str) -> object:
        try:
            return self._kind.verify(work_id)
        except BadResult as refusal:
            return refusal

    def _succeed(self, row: Row) -> None:
        verified = self._background.outcome(("verify", row.id))
        with self._context.database.writing() as session:
            self._kind.publish(session, row, verified, now=self._context.clock.now())

    def _fail(self, row: Row, problem: decisions.Problem) -> None:
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
