"""Fine-tuning jobs as the reconciler knows them."""

from dataclasses import asdict
from typing import Any
from typing import cast

from sqlalchemy.orm import Session

from deploy.contract.resources import Resources
from deploy.contract.spec import JobSpec
from deploy.evidence.error import NotVerified
from service.base_models.repository import BaseModelRepository
from service.context import Context
from service.evidence.issuing import issue
from service.evidence.keyring import Keyring
from service.evidence.origin import Origin
from service.evidence.origin import image_of
from service.files.fleet import kept_files
from service.jobs.inputs import Inputs
from service.jobs.inputs import Sources
from service.jobs.inputs import check_inputs
from service.jobs.publication import copy_result_files
from service.jobs.publication import publish
from service.jobs.repository import JOBS
from service.jobs.specification import make_spec
from service.jobs.verification import VerifiedResult
from service.jobs.verification import verify_result
from service.reconcile import ingest
from service.reconcile.kind import WorkKind
from service.reconcile.listener import Heard
from service.reconcile.observation import DesiredWork
from service.reconcile.observation import Limits
from service.reconcile.observation import Wanted
from service.tables import JobEventRow
from service.tables import JobRequestRow
from service.tables import JobRow
from service.work.inputs import Validate
from service.work.stored import BadResult


class JobKind(WorkKind[JobRow, JobEventRow, JobRequestRow]):
    """Jobs: three arms, checkpoints, pauses."""

    run_kind = "job"
    repository = JOBS
    spec = JobSpec
    started = "Fine-tuning job started"
    validated = "Files validated, moving job to queued state"

    def __init__(self, context: Context, keyring: Keyring, *, validate: Validate) -> None:
        self._context = context
        self._keyring = keyring
        self._validate = validate
        self.stall_s = float(context.settings.stall_s) or None
        self.limits = Limits(
            max_failures=context.settings.max_attempts,
            max_running=context.settings.max_running_jobs,
            deadline_s=float(context.settings.job_deadline_s),
        )

    def desired(self, row: JobRow) -> DesiredWork:
        """A row, as far as decisions need it."""
        return DesiredWork(
            id=row.id,
            project=row.project,
            status=row.status,  # type: ignore[arg-type]  # the column holds nothing else
            phase=row.phase,
            wanted=Wanted.PAUSE if row.pause_requested else Wanted.RUN,
            paused=row.phase == "paused",
            attempt=row.attempt,
            next_attempt_at=row.next_attempt_at,
            failures=row.failures,
            launched_at=row.launched_at,
        )

    def check_inputs(self, row: JobRow) -> Inputs:
        """Files and base model."""
        named = [each for each in (row.training_file, row.validation_file, row.probe_file) if each]
        with self._context.database.reading() as session:
            sources = Sources(
                base_model=BaseModelRepository(session, row.project).get(row.model),
                files=kept_files(session, row.project, named),
            )
        return check_inputs(row, sources, self._context.store, validate=self._validate)

    def accepted(self, inputs: object) -> dict[str, Any]:
        """References, and hyperparameters without any ``auto``."""
        known = cast(Inputs, inputs)
        return {"inputs": known.to_json(), "hyperparameters": asdict(known.resolved)}

    def make_spec(self, row: JobRow, attempt: int) -> JobSpec:
        """As :func:`service.jobs.specification.make_spec`."""
        return make_spec(row, attempt, store_uri=self._context.store.uri)

    def resources(self, row: JobRow) -> Resources:
        """As asked for; rows of older versions ask for nothing."""
        return Resources.model_validate(row.hardening.get("resources", {}))

    def queue(self, row: JobRow) -> str | None:
        """As asked for."""
        return cast("str | None", row.hardening.get("queue"))

    def verify(self, work_id: str) -> VerifiedResult:
        """Weights, report and metrics; what was verified gets its evidence."""
        store = self._context.store
        verified = verify_result(store, work_id)
        copy_result_files(store, verified)
        origin = Origin(verified=verified, image=image_of(self._context.settings))
        try:
            issue(store, origin, self._keyring.signing)
        except NotVerified as error:
            # As when a report is too long to be read again: what cannot be proven is not shown either.
            raise BadResult(f"no evidence can be made of it: {error}") from error
        return verified

    def publish(self, session: Session, row: JobRow, verified: object, *, now: float) -> None:
        """As :func:`service.jobs.publication.publish`."""
        publish(session, row, cast(VerifiedResult, verified), now=now)

    def progress(self, before: dict[str, Any], heard: Heard) -> dict[str, Any]:
        """The newest numbers of each arm."""
        return ingest.progress_of(before, heard)

    def keep(self, session: Session, row: JobRow, heard: Heard, *, now: float) -> None:
        """Checkpoints."""
        ingest.keep_checkpoints(session, row.id, heard, now=now)
