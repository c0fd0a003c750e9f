"""What the projects API takes and gives: OpenAI's fields of its administration, and ours."""

from typing import Annotated
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field

from service.projects.principal import Scope
from service.projects.secret import PREFIX
from service.projects.secret import Secret
from service.tables import ApiKeyRow
from service.tables import ProjectRow

MAX_EXPIRES_S = 10 * 366 * 86_400
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class NamedProject(BaseModel):
    """Creates or renames a project."""

    model_config = _STRICT

    name: Name


class ArchiveProject(BaseModel):
    """Ends a project for good."""

    model_config = _STRICT

    data: Literal["keep", "erase"]
    """``keep`` locks away what it owns; ``erase`` deletes it as soon as nothing runs any more. The audit log stays."""


class ProjectObject(BaseModel):
    """``organization.project``."""

    id: str
    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: int
    archived_at: int | None
    status: Literal["active", "archived"]
    data: Literal["keep", "erase", "erased"]
    """What becomes, or became, of the data of an archived project."""


class CreateApiKey(BaseModel):
    """Makes a key of a project."""

    model_config = _STRICT

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=16)] = ["read", "train", "deploy", "infer"]
    expires_in_s: Annotated[int, Field(ge=1, le=MAX_EXPIRES_S)] | None = None
    """Seconds, by the database's clock; none never expires."""


class ApiKeyObject(BaseModel):
    """``organization.project.api_key``; never the key itself."""

    id: str
    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    name: str
    redacted_value: str
    scopes: list[Scope]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


class ApiKeyWithValue(ApiKeyObject):
    """The one answer that has the key."""

    value: str


class ApiKeyDeleted(BaseModel):
    """The answer to a revocation."""

    id: str
    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"
    deleted: Literal[True] = True


def project_object(row: ProjectRow) -> ProjectObject:
    """What the API shows of a project."""
    erasing: Literal["erase", "erased"] = "erase" if row.erased_at is None else "erased"
    return ProjectObject(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        archived_at=row.archived_at,
        status="active" if row.archived_at is None else "archived",
        data=erasing if row.erase else "keep",
    )


def api_key_object(row: ApiKeyRow) -> ApiKeyObject:
    """What the API shows of a key."""
    return ApiKeyObject.model_validate(_shown(row))


def api_key_with_value(row: ApiKeyRow, secret: Secret) -> ApiKeyWithValue:
    """Shown once."""
    return ApiKeyWithValue.model_validate({**_shown(row), "value": secret.text})


def _shown(row: ApiKeyRow) -> dict[str, object]:
    names = ("id", "name", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
    return {**{name: getattr(row, name) for name in names}, "redacted_value": f"{PREFIX}{row.id}_..."}
