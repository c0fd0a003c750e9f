"""Every query about models that jobs made."""

from dataclasses import dataclass

from sqlalchemy import Select
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.tables import EndpointRow
from service.tables import ModelRow


@dataclass(frozen=True, slots=True)
class ModelRepository:
    """Models of one project, within one transaction."""

    session: Session
    project: str

    def add(self, row: ModelRow) -> None:
        """Insert a model. Raises sqlalchemy.exc.IntegrityError when its id, or its job's arm, is taken."""
        self.session.add(row)
        self.session.flush()

    def get(self, model_id: str, *, lock: bool = False) -> ModelRow | None:
        """A model that is not deleted; ``lock`` keeps it so until the transaction ends."""
        query = self._own().where(ModelRow.id == model_id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def all(self) -> list[ModelRow]:
        """Every model, newest first."""
        return list(
            self.session.scalars(self._own().order_by(ModelRow.created_at.desc(), ModelRow.id.desc()))
        )

    def endpoint_of(self, model_id: str) -> str | None:
        """Id of the live endpoint that serves the model."""
        query = select(EndpointRow.id).where(
            EndpointRow.active_model_id == model_id, EndpointRow.project == self.project
        )
        return self.session.scalar(query)

    def mark_deleted(self, row: ModelRow) -> None:
        """Hide a model; its row keeps the job's arm taken, so that nothing brings it back."""
        row.deleted = True

    def _own(self) -> Select[ModelRow]:
        return select(ModelRow).where(ModelRow.project == self.project, ModelRow.deleted.is_(False))
