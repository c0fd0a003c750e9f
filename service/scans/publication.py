"""Makes a verified scan visible: result files and the scan's end, in one transaction."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy.orm import Session

from deploy.contract.result import StoredObject
from deploy.store.protocol import ObjectStore
from service.scans.repository import SCANS
from service.scans.verification import VerifiedScan
from service.tables import ScanRow
from service.work import history
from service.work.result_files import copy_result_file
from service.work.result_files import result_file
from service.work.result_files import result_file_id

RESULT_FILES: Final = ("findings.csv", "findings.json")


def copy_scan_files(store: ObjectStore, verified: VerifiedScan) -> None:
    """Put the result files where files lie. May be repeated."""
    for name, stored in _objects(verified).items():
        copy_result_file(store, verified.result.scan_id, name, stored)


def _objects(verified: VerifiedScan) -> Mapping[str, StoredObject]:
    return dict(zip(RESULT_FILES, (verified.result.table, verified.result.findings), strict=True))


def publish_scan(session: Session, row: ScanRow, verified: VerifiedScan, *, now: float) -> bool:
    """End a scan with success, unless it is over already. Returns whether this did it."""
    findings = verified.findings
    ended = SCANS.change(
        session,
        row,
        status="succeeded",
        phase="succeeded",
        result_files=[result_file_id(row.id, name) for name in RESULT_FILES],
        finished_at=int(now),
        next_attempt_at=None,
        estimated_finish=None,
        outcome={
            "rows": findings.rows,
            "suspicious": findings.suspicious,
            "listed": len(findings.listed),
            "detectors": findings.detectors,
            "versions": verified.result.versions,
        },
    )
    if not ended:
        return False
    for name, stored in _objects(verified).items():
        session.merge(result_file(row, name, stored, now=now))
    said = (
        f"The scan is complete: {findings.suspicious} of {findings.rows} rows look planted to these detectors"
    )
    history.record(session, SCANS, row, said, at=now, suspicious=findings.suspicious)
    return True
