"""What the models API gives."""

from typing import Literal

from pydantic import BaseModel

from service.tables import BaseModelRow
from service.tables import ModelRow


class ModelOrigin(BaseModel):
    """Where a model comes from."""

    arm: Literal["base", "control", "hardened"]
    job: str | None
    base_model: str | None
    uri: str | None
    architecture: str | None
    parameters: int | None


class ModelObject(BaseModel):
    """OpenAI's model, and where it comes from."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "temper"
    hardening: ModelOrigin


class ModelList(BaseModel):
    """All models; OpenAI never pages them."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class ModelDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


def trained_model(row: ModelRow) -> ModelObject:
    """What the API shows of a model that a job made."""
    origin = ModelOrigin.model_validate(
        {
            "arm": row.arm,
            "job": row.job_id,
            "base_model": row.base_model_id,
            "uri": row.uri,
            "architecture": row.architecture,
            "parameters": row.parameters,
        }
    )
    return ModelObject(id=row.id, created=row.created_at, hardening=origin)


def base_model(row: BaseModelRow) -> ModelObject:
    """What the API shows of a base model among the models."""
    origin = ModelOrigin(
        arm="base",
        job=None,
        base_model=row.id,
        uri=row.uri,
        architecture=row.architecture,
        parameters=row.parameters,
    )
    return ModelObject(id=row.id, created=row.created_at, hardening=origin)
