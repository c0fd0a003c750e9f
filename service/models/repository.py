"""Every query about models that jobs made."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.tables import EndpointRow
from service.tables import ModelRow


@dataclass(frozen=True, slots=True)
class ModelRepository:
    """Models within one transaction."""

    session: Session

    def add(self, row: ModelRow) -> None:
        """Insert a model. Raises sqlalchemy.exc.IntegrityError when its id, or its job's arm, is taken."""
        self.session.add(row)
        self.session.flush()

    def get(self, model_id: str, *, lock: bool = False) -> ModelRow | None:
        """A model that is not deleted; ``lock`` keeps it so until the transaction ends."""
        query = select(ModelRow).where(ModelRow.id == model_id, ModelRow.deleted.is_(False))
        return self.session.scalar(query.with_for_update() if lock else query)

    def all(self) -> list[ModelRow]:
        """Every model, newest first."""
        query = select(ModelRow).where(ModelRow.deleted.is_(False))
        return list(self.session.scalars(query.order_by(ModelRow.created_at.desc(), ModelRow.id.desc())))

    def endpoint_of(self, model_id: str) -> str | None:
        """Id of the live endpoint that serves the model."""
        query = select(EndpointRow.id).where(EndpointRow.active_model_id == model_id)
        return self.session.scalar(query)

    def served_from(self, uri: str) -> bool:
        """Whether a model that is not deleted has its weights below ``uri`` (without a trailing slash)."""
        query = select(ModelRow.id).where(ModelRow.uri.in_((uri, f"{uri}/")), ModelRow.deleted.is_(False))
        return self.session.scalar(query.limit(1)) is not None

    def mark_deleted(self, row: ModelRow) -> None:
        """Hide a model; its row keeps the job's arm taken, so that nothing brings it back."""
        row.deleted = True
