"""Scans as the reconciler knows them: jobs without arms, checkpoints or pauses."""

from typing import Any
from typing import cast

from sqlalchemy.orm import Session

from deploy.contract.scan import ScanSpec
from deploy.contract.spec import DatasetRef
from service.context import Context
from service.files.fleet import kept_files
from service.reconcile import ingest
from service.reconcile.kind import WorkKind
from service.reconcile.listener import Heard
from service.reconcile.observation import DesiredWork
from service.reconcile.observation import Limits
from service.scans.publication import copy_scan_files
from service.scans.publication import publish_scan
from service.scans.repository import SCANS
from service.scans.specification import make_spec
from service.scans.verification import VerifiedScan
from service.scans.verification import verify_scan
from service.tables import ScanEventRow
from service.tables import ScanRequestRow
from service.tables import ScanRow
from service.work.inputs import BadInputs
from service.work.inputs import Validate
from service.work.inputs import check_dataset


class ScanKind(WorkKind[ScanRow, ScanEventRow, ScanRequestRow]):
    """Scans: one file in, findings out."""

    run_kind = "scan"
    repository = SCANS
    spec = ScanSpec
    started = "Scan started"
    validated = "File validated, moving scan to queued state"

    def __init__(self, context: Context, *, validate: Validate) -> None:
        self._context = context
        self._validate = validate
        self.stall_s = float(context.settings.stall_s) or None
        self.limits = Limits(
            max_failures=context.settings.max_attempts,
            max_running=context.settings.max_running_scans,
            deadline_s=float(context.settings.scan_deadline_s),
        )

    def desired(self, row: ScanRow) -> DesiredWork:
        """A row, as far as decisions need it."""
        return DesiredWork(
            id=row.id,
            project=row.project,
            status=row.status,  # type: ignore[arg-type]  # the column holds nothing else
            phase=row.phase,
            attempt=row.attempt,
            next_attempt_at=row.next_attempt_at,
            failures=row.failures,
            launched_at=row.launched_at,
        )

    def check_inputs(self, row: ScanRow) -> DatasetRef:
        """The file, read to its end."""
        with self._context.database.reading() as session:
            file = kept_files(session, row.project, [row.file]).get(row.file)
        if file is None:
            raise BadInputs("file_not_found", f"{row.file} was deleted before it could be scanned.", "file")
        columns = row.options["columns"]
        return check_dataset(
            self._context.store,
            file,
            prompt_column=columns["prompt"],
            completion_column=columns["completion"],
            param="file",
            validate=self._validate,
        )

    def accepted(self, inputs: object) -> dict[str, Any]:
        """The file's reference."""
        return {"inputs": {"file": cast(DatasetRef, inputs).model_dump(mode="json")}}

    def make_spec(self, row: ScanRow, attempt: int) -> ScanSpec:
        """As :func:`service.scans.specification.make_spec`."""
        return make_spec(row, attempt, store_uri=self._context.store.uri)

    def verify(self, work_id: str) -> VerifiedScan:
        """Findings and table."""
        verified = verify_scan(self._context.store, work_id)
        copy_scan_files(self._context.store, verified)
        return verified

    def publish(self, session: Session, row: ScanRow, verified: object, *, now: float) -> None:
        """As :func:`service.scans.publication.publish_scan`."""
        publish_scan(session, row, cast(VerifiedScan, verified), now=now)

    def progress(self, before: dict[str, Any], heard: Heard) -> dict[str, Any]:
        """Steps done, steps in all, what is happening."""
        return ingest.steps_of(before, heard)
