"""Every query about uploads and their parts."""

from dataclasses import dataclass

from sqlalchemy import CursorResult
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from service.tables import UploadPartRow
from service.tables import UploadRow


@dataclass(frozen=True, slots=True)
class UploadRepository:
    """Uploads of one project, within one transaction."""

    session: Session
    project: str

    def add(self, row: UploadRow | UploadPartRow) -> None:
        """Insert an upload or a part of one."""
        self.session.add(row)
        self.session.flush()

    def get(self, upload_id: str, *, lock: bool = False) -> UploadRow | None:
        """An upload; ``lock`` keeps it as it is until the transaction ends."""
        query = select(UploadRow).where(UploadRow.id == upload_id, UploadRow.project == self.project)
        return self.session.scalar(query.with_for_update() if lock else query)

    def parts(self, upload_id: str) -> list[UploadPartRow]:
        """All parts of an upload, in no order."""
        return list(self.session.scalars(select(UploadPartRow).where(UploadPartRow.upload_id == upload_id)))

    def count_parts(self, upload_id: str) -> int:
        """How many parts an upload has."""
        query = select(func.count()).select_from(UploadPartRow).where(UploadPartRow.upload_id == upload_id)
        return self.session.scalar(query) or 0

    def settle(self, upload_id: str, status: str, *, file_id: str | None = None) -> bool:
        """End a pending upload; False when another request ended it first."""
        change = (
            update(UploadRow)
            .where(UploadRow.id == upload_id, UploadRow.project == self.project)
            .where(UploadRow.status == "pending")
            .values(status=status, file_id=file_id, version=UploadRow.version + 1)
        )
        result = self.session.execute(change)
        return isinstance(result, CursorResult) and result.rowcount == 1
