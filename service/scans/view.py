"""How scans, their events and the rows that they found look to a client."""

from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import BaseModel
from pydantic import Field

from deploy.contract.report import SuspiciousRow
from service.tables import ScanEventRow
from service.tables import ScanRow
from service.work.ends import ERROR_CODES
from service.work.progress import numbers_of
from service.work.progress import waiting_of


class ScanCounts(BaseModel):
    """What a scan found."""

    rows: int
    """Of the file."""
    suspicious: int
    listed: int
    """At most the limit; what is listed is in the result files and under ``rows``."""
    detectors: dict[str, int]
    """Rows that each detector found."""
    versions: dict[str, str]


class ScanView(BaseModel):
    """``scan``."""

    id: str
    object: Literal["scan"] = "scan"
    created_at: int
    finished_at: int | None
    file: str
    status: str
    phase: str | None
    attempt: int
    progress: dict[str, Any]
    waiting: str | None = None
    """What its run waits for, in the words of whoever lets it wait."""
    counts: ScanCounts | None
    error: Annotated[dict[str, Any] | None, Field(description=ERROR_CODES)]
    result_files: list[str]
    columns: dict[str, Any]
    probes: list[Any]
    payloads: list[Any]
    limits: dict[str, Any]
    seed: int
    metadata: dict[str, str] | None


class ScanEventView(BaseModel):
    """``scan.event``."""

    id: str
    object: Literal["scan.event"] = "scan.event"
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any]


class ScanRowView(BaseModel):
    """``scan.row``: a suspicious row."""

    id: str
    """``row-`` and its number; the cursor of the next page."""
    object: Literal["scan.row"] = "scan.row"
    rank: int
    """From 1, the most suspicious."""
    row: int
    """Number in the file, counted from 1."""
    score: float
    detectors: list[str]
    reason: str


def view_scan(row: ScanRow) -> ScanView:
    """A scan as its user sees it."""
    return ScanView(
        id=row.id,
        created_at=row.created_at,
        finished_at=row.finished_at,
        file=row.file,
        status=row.status,
        phase=row.phase,
        attempt=row.attempt,
        progress=numbers_of(row.progress),
        waiting=waiting_of(row.progress),
        counts=None if row.outcome is None else ScanCounts(**row.outcome),
        error=row.error,
        result_files=row.result_files,
        seed=row.seed,
        metadata=row.user_metadata,
        **row.options,
    )


def view_event(row: ScanEventRow) -> ScanEventView:
    """An event as its user sees it."""
    return ScanEventView(
        id=row.id,
        created_at=int(row.at),
        level=row.level,
        message=row.message,
        type=row.type,
        data=row.data,
    )


def view_row(rank: int, found: SuspiciousRow) -> ScanRowView:
    """A suspicious row as its user sees it."""
    return ScanRowView(
        id=f"row-{found.row}",
        rank=rank,
        row=found.row,
        score=found.score,
        detectors=list(found.detectors),
        reason=found.reason,
    )
