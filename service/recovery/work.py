"""Jobs and scans: what was asked, the attempts that were made, and how it ended, if it did."""

import re
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Final

from sqlalchemy.orm import Session

from deploy.contract import layout
from deploy.contract.document import DocumentError
from deploy.contract.document import sha256_hex
from deploy.contract.layout import RecordKind
from deploy.contract.result import StoredObject
from deploy.contract.scan import ScanSpec
from deploy.contract.spec import DatasetRef
from deploy.contract.spec import JobSpec
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from service.jobs.publication import copy_result_files
from service.jobs.publication import model_id
from service.jobs.publication import publish
from service.jobs.repository import JOBS
from service.jobs.verification import VerifiedResult
from service.jobs.verification import verify_result
from service.reconcile import ingest
from service.reconcile.listener import listen
from service.recovery.bounded import children
from service.recovery.bounded import read_bounded
from service.recovery.files import stand_in
from service.recovery.projects import keep_project
from service.recovery.records import EndedRecord
from service.recovery.records import JobOrder
from service.recovery.records import WorkRecord
from service.recovery.tally import Tally
from service.recovery.units import Units
from service.scans.publication import copy_scan_files
from service.scans.publication import publish_scan
from service.scans.repository import SCANS
from service.scans.verification import VerifiedScan
from service.scans.verification import verify_scan
from service.tables import JobRow
from service.tables import ModelRow
from service.tables import ScanRow
from service.work import history
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.repository import WorkRepository
from service.work.stored import BadResult
from service.work.stored import verify_object

ID: Final = re.compile(r"(ftjob|scan)-[a-z0-9]{1,40}")
MAX_ATTEMPT_DIGITS: Final = 6
LOOKS: Final = 1000
"""At the events of one attempt."""


@dataclass(slots=True, kw_only=True)
class Weights:
    """Looks at the files of models: whole or not, or gone because their model was deleted."""

    hashed: bool
    """Read every byte; else sizes are compared, and whoever serves a model reads them."""
    missing: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def __call__(self, store: ObjectStore, stored: StoredObject) -> None:
        """One file. Raises BadResult when it is another one."""
        info = store.info(stored.key)
        if info is None:
            self.missing.append(stored.key)
            return
        self.found.append(stored.key)
        if info.size_bytes != stored.size_bytes:
            raise BadResult(f"{stored.key} is not what was committed")
        if self.hashed:
            verify_object(store, stored)

    def deleted(self, prefix: str) -> bool:
        """Whether nothing is left of the model below a prefix. Raises BadResult when only some of it is."""
        gone = [key for key in self.missing if key.startswith(prefix)]
        if gone and any(key.startswith(prefix) for key in self.found):
            raise BadResult(f"{gone[0]} is missing")
        return bool(gone)


@dataclass(slots=True, kw_only=True)
class Attempt:
    """The newest attempt of a job or a scan that was prepared."""

    number: int
    spec: JobSpec | ScanSpec
    sha256: str


@dataclass(slots=True, kw_only=True)
class WorkRebuilder:
    """Rebuilds one job or scan after the other."""

    units: Units
    store: ObjectStore
    tally: Tally
    now: float
    verify: bool
    dry_run: bool

    def rebuild(self, work_id: str) -> None:
        """One of them. Raises StoreError."""
        kind = "scans" if layout.is_scan(work_id) else "jobs"
        key = layout.record_key("work", work_id)
        if not ID.fullmatch(work_id):
            self.tally.skip(kind, key, "no job and no scan can have this name")
            return
        try:
            record = self._read_record(work_id)
            ended = self._read("ended", work_id, EndedRecord)
            newest = self._newest_attempt(work_id)
        except DocumentError as error:
            self.tally.skip(kind, key, str(error))
            return
        except ObjectMissing:
            self.tally.skip(kind, key, "there is no record: nothing says what was asked")
            return
        if isinstance(record.order, JobOrder):
            self._job(record, record.order, ended, newest)
        else:
            self._scan(record, ended, newest)

    # ---- reading ----------------------------------------------------------------------------

    def _read_record(self, work_id: str) -> WorkRecord:
        record: WorkRecord | None = self._read("work", work_id, WorkRecord)
        if record is None:
            raise ObjectMissing(work_id)
        if layout.is_scan(work_id) == isinstance(record.order, JobOrder):
            raise DocumentError("it is of another kind of work")
        return record

    def _read(self, kind: RecordKind, work_id: str, form: type[Any]) -> Any | None:
        try:
            record = form.from_bytes(read_bounded(self.store, layout.record_key(kind, work_id)))
        except ObjectMissing:
            return None
        if record.id != work_id:
            raise DocumentError(f"it is of {record.id}")
        return record

    def _newest_attempt(self, work_id: str) -> Attempt | None:
        folder = layout.attempts_prefix(work_id).removesuffix("/")
        numbers = sorted(
            (int(name) for name in children(self.store, folder) if _is_number(name)), reverse=True
        )
        for number in numbers:
            key = layout.spec_key(work_id, number)
            try:
                data = read_bounded(self.store, key)
                form = ScanSpec if layout.is_scan(work_id) else JobSpec
                spec = form.from_bytes(data)
            except ObjectMissing:
                continue
            except DocumentError as error:
                self.tally.note(key, str(error))
                continue
            return Attempt(number=number, spec=spec, sha256=sha256_hex(data))
        return None

    # ---- jobs -------------------------------------------------------------------------------

    def _job(
        self, record: WorkRecord, order: JobOrder, ended: EndedRecord | None, newest: Attempt | None
    ) -> None:
        row = JobRow(**_common(record), **order.model_dump(exclude={"type"}), pause_requested=False)
        refs: dict[str, DatasetRef | None] = {}
        if newest is not None and isinstance(newest.spec, JobSpec):
            spec = newest.spec
            refs = {name: getattr(spec, name) for name in ("training_file", "validation_file", "probe_file")}
            datasets = {name: ref.model_dump(mode="json") for name, ref in refs.items() if ref is not None}
            row.inputs = {"base_model": spec.base_model.model_dump(mode="json"), "datasets": datasets}
            row.hyperparameters = _resolved(order.hyperparameters, spec)
        outcome, weights = self._job_outcome(row.id, ended)
        with self.units.unit("jobs", layout.record_key("work", row.id)) as session:
            if session.get(JobRow, row.id) is not None:
                self.tally.count("jobs", "present")
                return
            for name in ("training_file", "validation_file", "probe_file"):
                if getattr(row, name) is not None:
                    stand_in(session, row, getattr(row, name), refs.get(name))
            _place(row, newest, ended, outcome, now=self.now)
            _keep(session, JOBS, row, record, said=f"Created fine-tuning job: {row.id}")
            self._hear(session, row, row.attempt)
            if isinstance(outcome, VerifiedResult) and weights is not None:
                publish(session, row, outcome, now=outcome.result.finished_at)
                self._mark_deleted(session, row, outcome, weights)
            self.tally.count("jobs", "rebuilt")
        self._tell(row, newest, ended, outcome)

    def _job_outcome(
        self, job_id: str, ended: EndedRecord | None
    ) -> tuple[VerifiedResult | BadResult | None, Weights | None]:
        if ended is not None or self.store.info(layout.result_key(job_id)) is None:
            return None, None
        weights = Weights(hashed=self.verify)
        try:
            verified = verify_result(self.store, job_id, verify_weights=weights)
            for arm in verified.result.models:
                weights.deleted(_arm_prefix(verified, arm))
        except (BadResult, DocumentError, ObjectMissing) as error:
            self.tally.note(layout.result_key(job_id), f"it cannot be trusted: {error}")
            return BadResult(str(error)), None
        if not self.dry_run:
            copy_result_files(self.store, verified)
        return verified, weights

    def _mark_deleted(
        self, session: Session, row: JobRow, verified: VerifiedResult, weights: Weights
    ) -> None:
        session.flush()
        for arm in verified.result.models:
            model = session.get(ModelRow, model_id(row, arm))
            if model is not None and arm != "base":
                model.deleted = weights.deleted(_arm_prefix(verified, arm))
                self.tally.count("models", "rebuilt", 0 if model.deleted else 1)

    # ---- scans ------------------------------------------------------------------------------

    def _scan(self, record: WorkRecord, ended: EndedRecord | None, newest: Attempt | None) -> None:
        order = record.order
        row = ScanRow(**_common(record), **order.model_dump(exclude={"type"}))
        ref: DatasetRef | None = None
        if newest is not None and isinstance(newest.spec, ScanSpec):
            ref = newest.spec.file
            row.inputs = {"file": ref.model_dump(mode="json")}
        outcome = self._scan_outcome(row.id, ended)
        with self.units.unit("scans", layout.record_key("work", row.id)) as session:
            if session.get(ScanRow, row.id) is not None:
                self.tally.count("scans", "present")
                return
            stand_in(session, row, row.file, ref)
            _place(row, newest, ended, outcome, now=self.now)
            _keep(session, SCANS, row, record, said=f"Created scan: {row.id}")
            self._hear(session, row, row.attempt)
            if isinstance(outcome, VerifiedScan):
                publish_scan(session, row, outcome, now=outcome.result.finished_at)
            self.tally.count("scans", "rebuilt")
        self._tell(row, newest, ended, outcome)

    def _scan_outcome(self, scan_id: str, ended: EndedRecord | None) -> VerifiedScan | BadResult | None:
        if ended is not None or self.store.info(layout.result_key(scan_id)) is None:
            return None
        try:
            verified = verify_scan(self.store, scan_id)
        except (BadResult, DocumentError, ObjectMissing) as error:
            self.tally.note(layout.result_key(scan_id), f"it cannot be trusted: {error}")
            return BadResult(str(error))
        if not self.dry_run:
            copy_scan_files(self.store, verified)
        return verified

    # ---- both -------------------------------------------------------------------------------

    def _hear(self, session: Session, row: JobRow | ScanRow, attempts: int) -> None:
        """What the attempts told while they ran."""
        for attempt in range(1, attempts + 1):
            upto: dict[str, int] = {}
            for look in range(LOOKS):
                heard = listen(self.store, row.id, attempt, upto, find_pods=look == 0)
                if isinstance(row, JobRow):
                    ingest.keep_events(session, JOBS, row, heard, now=self.now)
                    ingest.keep_checkpoints(session, row.id, heard, now=self.now)
                    self.tally.count("checkpoints", "rebuilt", _checkpoints(heard.events))
                else:
                    ingest.keep_events(session, SCANS, row, heard, now=self.now)
                self.tally.count("events", "rebuilt", len(heard.events))
                if not heard.segments:
                    break
                upto = heard.upto

    def _tell(self, row: JobRow | ScanRow, newest: Attempt | None, ended: Any, outcome: Any) -> None:
        if ended is None and outcome is None:
            state = "is validated again" if newest is None else f"goes on with attempt {newest.number}"
            self.tally.note(layout.record_key("work", row.id), f"it was not over: it is queued and {state}")


def _keep(
    session: Session,
    repository: WorkRepository[Row, EventRow, RequestRow],
    row: Row,
    record: WorkRecord,
    *,
    said: str,
) -> None:
    """A row, the requests that made it, and its first event."""
    keep_project(session, row.project, created_at=row.created_at)
    session.add(row)
    session.flush()
    for request in record.requests:
        session.merge(repository.requests(project=row.project, work_id=row.id, **request.model_dump()))
    history.record(session, repository, row, said, at=row.created_at, sequence=history.CREATION)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= MAX_ATTEMPT_DIGITS and not name.startswith("0")


def _common(record: WorkRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "project": record.project,
        "seed": record.seed,
        "user_metadata": record.metadata,
        "created_at": record.created_at,
        "attempt": 0,
        "failures": 0,
        "result_files": [],
        "version": 0,
    }


def _resolved(asked: dict[str, Any], spec: JobSpec) -> dict[str, Any]:
    """Hyperparameters without any ``auto``; a spec holds the product of the rate and its multiplier."""
    multiplier = asked.get("learning_rate_multiplier")
    multiplier = 1.0 if not isinstance(multiplier, int | float) or not multiplier else float(multiplier)
    rate = asked.get("learning_rate")
    return {
        "n_epochs": spec.training.n_epochs,
        "batch_size": spec.training.batch_size,
        "learning_rate_multiplier": multiplier,
        "learning_rate": rate if isinstance(rate, int | float) else spec.training.learning_rate / multiplier,
    }


def _place(
    row: JobRow | ScanRow, newest: Attempt | None, ended: EndedRecord | None, outcome: Any, *, now: float
) -> None:
    """Where it is: over, or where it can go on from."""
    if newest is not None:
        row.attempt, row.spec_sha256 = newest.number, newest.sha256
    if ended is not None:
        row.status = row.phase = ended.status
        row.error, row.finished_at = ended.error, ended.finished_at
        row.attempt = ended.attempt
    elif isinstance(outcome, BadResult):
        message = f"The result cannot be trusted: {outcome}."
        row.status = row.phase = "failed"
        row.error = {"code": "bad_result", "message": message, "param": None}
        row.finished_at = int(now)
    elif newest is None:
        row.status, row.phase = "validating_files", "validating"
    else:
        # The same attempt is launched again: one that still runs has this name, and is left alone.
        row.status, row.phase = "queued", "queued"
    if isinstance(outcome, VerifiedResult | VerifiedScan):
        row.attempt, row.spec_sha256 = outcome.result.attempt, outcome.result.spec_sha256
        row.started_at = int(outcome.result.started_at)


def _arm_prefix(verified: VerifiedResult, arm: Any) -> str:
    result = verified.result
    return layout.model_prefix(result.job_id, result.attempt, result.pod, arm)


def _checkpoints(events: list[tuple[str, Any]]) -> int:
    return sum("prefix" in event.data for _, event in events)
