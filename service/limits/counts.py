"""How much there is of what is limited by number. Reads the tables of every resource; changes none."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement
from sqlalchemy import and_
from sqlalchemy import case
from sqlalchemy import func
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm import Session

from service.endpoints.repository import ENDED
from service.limits.numbers import GPU_WINDOW_S
from service.limits.rows import ByteReservationRow
from service.tables import BaseModelRow
from service.tables import EndpointRow
from service.tables import FileRow
from service.tables import JobRow
from service.tables import ScanRow
from service.tables import UploadPartRow
from service.tables import UploadRow
from service.tables import Work
from service.unix_seconds import unix_seconds
from service.work.ends import TERMINAL
from service.work.machines import AWAY

HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one project, within one transaction."""

    session: Session
    project: str

    def unfinished_jobs(self) -> int:
        """Jobs and scans that have not ended."""
        kinds: tuple[type[Work], ...] = (JobRow, ScanRow)
        return sum(
            self._count(rows.id, rows.project == self.project, rows.status.not_in(TERMINAL)) for rows in kinds
        )

    def running_jobs(self) -> int:
        """Jobs that hold a machine or are about to."""
        waits = JobRow.next_attempt_at.is_not(None), JobRow.phase.in_(("validating", "paused"))
        return self._count(
            JobRow.id,
            JobRow.project == self.project,
            JobRow.status.in_(("queued", "running")),
            ~or_(*waits),
        )

    def endpoints(self) -> int:
        """Endpoints that have not ended."""
        return self._count(
            EndpointRow.id, EndpointRow.project == self.project, EndpointRow.status.not_in(ENDED)
        )

    def stored_bytes(self) -> int:
        """Files, and what is declared or stored of uploads, base models and files that are being received."""
        files = self._sum(FileRow.bytes, FileRow.project == self.project, FileRow.deleted.is_(False))
        reserved = self._sum(
            ByteReservationRow.bytes,
            ByteReservationRow.project == self.project,
            ByteReservationRow.expires_at > unix_seconds(),
        )
        return files + reserved + self._upload_bytes() + self._base_model_bytes()

    def gpu_seconds(self) -> int:
        """Of jobs that have not ended, or did so within the last 30 days; every attempt's."""
        goes_on = and_(
            JobRow.status.not_in(TERMINAL), JobRow.launched_at.is_not(None), JobRow.phase.not_in(AWAY)
        )
        present = case((goes_on, unix_seconds() - JobRow.launched_at), else_=0)
        recent = or_(JobRow.finished_at.is_(None), JobRow.finished_at > unix_seconds() - GPU_WINDOW_S)
        total = func.coalesce(func.sum(JobRow.gpus * (JobRow.machine_s + present)), 0)
        query = select(total).where(JobRow.project == self.project, JobRow.gpus > 0, recent)
        return int(self.session.scalar(query) or 0)

    def _upload_bytes(self) -> int:
        # Parts may be more than was declared: a client that got no answer sends one again.
        parts = (
            select(func.coalesce(func.sum(UploadPartRow.bytes), 0))
            .where(UploadPartRow.upload_id == UploadRow.id)
            .correlate(UploadRow)
            .scalar_subquery()
        )
        stored = case((parts > UploadRow.bytes, parts), else_=UploadRow.bytes)
        return self._sum(stored, UploadRow.project == self.project, UploadRow.status == "pending")

    def _base_model_bytes(self) -> int:
        query = select(BaseModelRow.source).where(
            BaseModelRow.project == self.project, BaseModelRow.status != "failed"
        )
        sources = [source for source in self.session.scalars(query) if source["type"] == "upload"]
        return sum(int(file["size_bytes"]) for source in sources for file in source["files"])

    def _count(self, column: InstrumentedAttribute[str], *which: ColumnElement[bool]) -> int:
        return int(self.session.scalar(select(func.count(column)).where(*which)) or 0)

    def _sum(
        self, column: ColumnElement[int] | InstrumentedAttribute[int], *which: ColumnElement[bool]
    ) -> int:
        return int(self.session.scalar(select(func.coalesce(func.sum(column), 0)).where(*which)) or 0)
