"""What a user may do to scans: create, look, cancel, read the rows that were found."""

from collections.abc import Callable
from functools import partial

from sqlalchemy.orm import Session

from deploy.contract.document import sha256_hex
from deploy.store.protocol import ObjectMissing
from service.context import Context
from service.errors import BadRequest
from service.errors import NotFound
from service.errors import ServiceError
from service.files.repository import FileRepository
from service.ids import new_id
from service.scans.repository import SCANS
from service.scans.schemas import CreateScan
from service.scans.verification import VerifiedScan
from service.scans.verification import verify_scan
from service.tables import ScanRow
from service.work import history
from service.work.creation import Repetition
from service.work.creation import create_once
from service.work.decision import cancelled
from service.work.decision import decide
from service.work.stored import BadResult

SCANNED_PURPOSES = ("fine-tune", "evals")


def create_scan(
    session: Session,
    project: str,
    body: CreateScan,
    repetition: Repetition,
    *,
    now: float,
    admit: Callable[[], None] = lambda: None,
) -> ScanRow:
    """Accept a scan, or find the one that the same request made already.

    Raises:
        BadRequest: the file is not one of rows.
        NotFound: there is no such file.
        LimitReached: ``admit`` says that the project may have no more.
    """

    def accept() -> ScanRow:
        admit()
        _check_file(session, project, body.file, now=int(now))
        return _new_row(project, body, now)

    body_hash = sha256_hex(body.to_bytes())
    created = create_once(session, SCANS, project, repetition, body_hash=body_hash, make=accept, now=now)
    if created.new:
        history.record(
            session, SCANS, created.row, f"Created scan: {created.row.id}", at=now, sequence=history.CREATION
        )
    return created.row


def _check_file(session: Session, project: str, file_id: str, *, now: int) -> None:
    # Locked, so that it is not deleted before the scan that needs it is there.
    file = FileRepository(session, project).get(file_id, now=now, lock=True)
    if file is None:
        raise NotFound(f"There is no file {file_id!r}.", code="file_not_found", param="file")
    if file.purpose not in SCANNED_PURPOSES:
        raise BadRequest(
            f"file: {file_id} has purpose {file.purpose!r}, not {' or '.join(SCANNED_PURPOSES)}.",
            code="invalid_file_purpose",
            param="file",
        )


def _new_row(project: str, body: CreateScan, now: float) -> ScanRow:
    return ScanRow(
        project=project,
        id=new_id("scan"),
        file=body.file,
        options=body.options().model_dump(mode="json"),
        seed=body.seed,
        user_metadata=body.metadata,
        status="validating_files",
        phase="validating",
        created_at=int(now),
        version=0,
    )


def require(session: Session, project: str, scan_id: str) -> ScanRow:
    """A scan. Raises NotFound."""
    row = SCANS.get(session, project, scan_id)
    if row is None:
        raise NotFound(f"There is no scan {scan_id!r}.", code="scan_not_found")
    return row


def cancel_scan(session: Session, project: str, scan_id: str, *, now: float) -> ScanRow:
    """End a scan now; its run is stopped by the next tick and whatever it commits is never shown.

    Raises:
        NotFound: there is no such scan.
        Conflict: it has succeeded or failed already.
    """
    find = partial(require, session, project, scan_id)
    return decide(session, SCANS, find, partial(cancelled, now=now), "The scan was cancelled.", now=now)


def find_scan(context: Context, project: str, scan_id: str) -> VerifiedScan:
    """The findings of a scan that succeeded, read and verified again each time.

    Raises:
        NotFound: there is no such scan, or it has no findings (yet).
        ServiceError: what lies in the store is not what was verified.
    """
    with context.database.reading() as session:
        row = require(session, project, scan_id)
    if row.status != "succeeded":
        raise NotFound(f"{scan_id} is {row.status} and has no findings.", code="findings_not_ready")
    try:
        return verify_scan(context.store, scan_id)
    except (BadResult, ObjectMissing) as error:
        said = f"The findings of {scan_id} were damaged: {error}."
        raise ServiceError(said, code="findings_damaged") from error
