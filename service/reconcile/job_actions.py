"""Carries out what :mod:`service.reconcile.tick` decides. Every method may be called again after a crash."""

import logging
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any
from typing import Final
from typing import cast

from sqlalchemy import select

from deploy.contract import layout
from deploy.contract.dataset.validation import DatasetSummary
from deploy.contract.document import sha256_hex
from deploy.contract.spec import JobSpec
from deploy.launch.protocol import Launch
from deploy.launch.protocol import Launcher
from deploy.store.opening import object_uri
from service.context import Context
from service.jobs import history
from service.jobs import repository
from service.jobs.inputs import BadInputs
from service.jobs.inputs import Inputs
from service.jobs.inputs import Sources
from service.jobs.inputs import check_inputs
from service.jobs.publication import copy_result_files
from service.jobs.publication import publish
from service.jobs.specification import make_spec
from service.jobs.verification import BadResult
from service.jobs.verification import VerifiedResult
from service.jobs.verification import verify_result
from service.reconcile import tick as decisions
from service.reconcile.background import Background
from service.tables import BaseModelRow
from service.tables import FileRow
from service.tables import JobRow

logger = logging.getLogger(__name__)
LOG_LINES: Final = 5000
_RUN_NAME: Final = re.compile(r"harden-([a-z0-9]{1,40})-([1-9][0-9]{0,5})")


def job_of_run(name: str) -> tuple[str, int] | None:
    """Job and attempt that a run's name stands for; None for a name that is not ours."""
    match = _RUN_NAME.fullmatch(name)
    return (f"ftjob-{match[1]}", int(match[2])) if match else None


class JobActions:
    """The hands of the reconciler, for jobs."""

    def __init__(
        self,
        context: Context,
        launcher: Launcher,
        background: Background,
        *,
        validate: Callable[..., DatasetSummary],
    ) -> None:
        self._context = context
        self._launcher = launcher
        self._background = background
        self._validate = validate
        self.stopping: set[str] = set()

    def apply(self, action: decisions.Action, rows: dict[str, JobRow]) -> None:
        """Do one thing. ``rows`` are those that the decision was based on."""
        match action:
            case decisions.StopRun(name=name, grace_s=grace_s):
                self._launcher.stop(name, grace_s=grace_s)
                self.stopping.add(name)
            case decisions.RemoveRun(name=name):
                self._remove(name)
            case _:
                self._change(action, rows[action.job_id])

    def _change(self, action: Any, row: JobRow) -> None:
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
                self._write(row, "Fine-tuning job started", status="running", phase="preparing")
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

    def _write(self, row: JobRow, said: str | None, *, level: history.Level = "info", **values: Any) -> bool:
        with self._context.database.writing() as session:
            changed = repository.change(session, row, **values)
            if changed and said is not None:
                history.record(session, row, said, at=self._context.clock.now(), level=level)
        return changed

    # ---- inputs -----------------------------------------------------------------------------

    def validation(self, job_id: str) -> decisions.Checked | None:
        """The outcome of a validation that has ended."""
        outcome = self._background.outcome(("validate", job_id))
        if isinstance(outcome, BadInputs):
            problem = decisions.Problem(code=outcome.code, message=outcome.message, param=outcome.param)
            return decisions.Checked(problem=problem)
        return None if outcome is None else decisions.Checked()

    def _begin_validation(self, row: JobRow) -> None:
        self._background.submit(("validate", row.id), partial(self._check_inputs, row))

    def _check_inputs(self, row: JobRow) -> Inputs | BadInputs:
        named = [each for each in (row.training_file, row.validation_file, row.probe_file) if each]
        with self._context.database.reading() as session:
            query = select(FileRow).where(FileRow.id.in_(named), FileRow.deleted.is_(False))
            sources = Sources(
                base_model=session.get(BaseModelRow, row.model),
                files={file.id: file for file in session.scalars(query)},
            )
        try:
            return check_inputs(row, sources, self._context.store, validate=self._validate)
        except BadInputs as refusal:
            return refusal

    def _enqueue(self, row: JobRow) -> None:
        inputs = cast(Inputs, self._background.outcome(("validate", row.id)))
        self._write(
            row,
            "Files validated, moving job to queued state",
            status="queued",
            phase="queued",
            inputs=inputs.to_json(),
            hyperparameters=asdict(inputs.resolved),
            next_attempt_at=int(self._context.clock.now()),
        )
        self._background.forget(("validate", row.id))

    # ---- attempts ---------------------------------------------------------------------------

    def _prepare(self, row: JobRow, attempt: int) -> None:
        store = self._context.store
        key = layout.spec_key(row.id, attempt)
        data = make_spec(row, attempt, store_uri=store.uri).to_bytes()
        if not store.put_once(key, data):
            # Written before a crash by another version of this service: a spec is never changed.
            data = store.get(key)
            JobSpec.from_bytes(data)
        self._write(
            row, None, attempt=attempt, spec_sha256=sha256_hex(data), next_attempt_at=None, launched_at=None
        )

    def _launch(self, row: JobRow, attempt: int) -> None:
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
                deadline_s=self._context.settings.job_deadline_s,
            )
        )

    def _retry(self, row: JobRow, action: decisions.Retry) -> None:
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
        identity = job_of_run(name)
        if identity is not None:
            self._keep_log(name, *identity)
        self._launcher.remove(name)
        self.stopping.discard(name)

    def _keep_log(self, name: str, job_id: str, attempt: int) -> None:
        tail = self._launcher.log_tail(name, lines=LOG_LINES)
        if not tail:
            return
        store = self._context.store
        prefix = layout.attempt_prefix(job_id, attempt)
        below = (info.key.removeprefix(prefix).partition("/") for info in store.list(prefix))
        pods = [pod for pod, slash, _ in below if slash]
        key = layout.log_key(job_id, attempt, pods[-1] if pods else "no-pod")
        if store.info(key) is None:
            store.put(key, tail.encode("utf-8", errors="replace"))

    # ---- the end ----------------------------------------------------------------------------

    def verification(self, job_id: str) -> decisions.Checked | None:
        """The outcome of a verification that has ended."""
        outcome = self._background.outcome(("verify", job_id))
        if isinstance(outcome, BadResult):
            message = f"The job's result cannot be trusted: {outcome}."
            return decisions.Checked(problem=decisions.Problem(code="bad_result", message=message))
        return None if outcome is None else decisions.Checked()

    def _begin_verification(self, row: JobRow) -> None:
        self._background.submit(("verify", row.id), partial(self._check_result, row.id))

    def _check_result(self, job_id: str) -> VerifiedResult | BadResult:
        try:
            verified = verify_result(self._context.store, job_id)
        except BadResult as refusal:
            return refusal
        copy_result_files(self._context.store, verified)
        return verified

    def _succeed(self, row: JobRow) -> None:
        verified = cast(VerifiedResult, self._background.outcome(("verify", row.id)))
        with self._context.database.writing() as session:
            publish(session, row, verified, now=self._context.clock.now())

    def _fail(self, row: JobRow, problem: decisions.Problem) -> None:
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

    def forget(self, job_id: str) -> None:
        """A job is over: keep nothing of it in memory."""
        self._background.forget(("validate", job_id))
        self._background.forget(("verify", job_id))
