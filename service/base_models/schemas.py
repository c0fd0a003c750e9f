"""What the base models API takes and gives."""

from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Final
from typing import Literal
from typing import Self

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import model_validator

from deploy.contract.document import Document
from deploy.contract.document import Sha256
from deploy.contract.document import StoredFile
from service.tables import BaseModelRow

MANIFEST: Final = "manifest.json"
BaseModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
"""Neither a slash, which URLs would have to escape, nor a colon, which names of hardened models have."""

Generative = Literal["decoder", "encoder-decoder"]
"""Architectures that can be hardened: those that write."""

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class UploadSource(BaseModel):
    """Its files are uploaded one by one, each as declared here."""

    model_config = _STRICT

    type: Literal["upload"]
    files: Annotated[list[StoredFile], Field(min_length=1, max_length=2000)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        # By case as well: a local disk may not tell two such names apart.
        names = [file.name.casefold() for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("two files have the same name")
        if MANIFEST in names:
            raise ValueError(f"{MANIFEST} is written by the service")
        return self


class UriSource(BaseModel):
    """It lies in a store already."""

    model_config = _STRICT

    type: Literal["uri"]
    uri: Annotated[str, Field(pattern=r"^(s3|file)://[^\x00-\x20\x7f?#]{1,1000}$")]


class HubSource(BaseModel):
    """It lies on the Hugging Face hub; its job fetches and checks it at this commit."""

    model_config = _STRICT

    type: Literal["hub"]
    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


Source = Annotated[UploadSource | UriSource | HubSource, Field(discriminator="type")]


class CreateBaseModel(BaseModel):
    """Registers a base model."""

    model_config = _STRICT

    id: BaseModelId | None = None
    source: Source


class ModelError(BaseModel):
    """Why a base model was refused."""

    code: str
    message: str
    param: str | None = None


class BaseModelFile(BaseModel):
    """One file of a base model."""

    name: str
    size_bytes: int
    sha256: Sha256


class BaseModelObject(BaseModel):
    """A base model."""

    id: str
    object: Literal["base_model"] = "base_model"
    created_at: int
    status: Literal["ready", "pending", "failed"]
    source: dict[str, Any]
    uri: str | None
    files: list[BaseModelFile]
    architecture: Generative | None
    parameters: int | None
    uploaded: list[BaseModelFile] = []
    """What was uploaded of the files that were written anew; the others are as they came."""
    dropped: list[str] = []
    """What of its files no loader gets to see: ``file: member``, or a file's name."""
    error: ModelError | None


class BaseModelDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["base_model"] = "base_model"
    deleted: Literal[True] = True


class BaseModelManifest(Document):
    """``base_models/{id}/manifest.json``: what a base model consists of, for ever."""

    version: Literal[1] = 1
    uri: str
    files: Annotated[tuple[StoredFile, ...], Field(min_length=1, max_length=2000)]
    architecture: Generative
    parameters: Annotated[int, Field(ge=1)]
    dropped: tuple[str, ...] = ()


def found_source(named: dict[str, Any], dropped: Sequence[str]) -> dict[str, Any]:
    """A source as it was named, with what its check did not take."""
    return {**named, "dropped": list(dropped)} if dropped else named


def source_of(row: BaseModelRow) -> dict[str, Any]:
    """A base model's source as it was named, without what its check found."""
    return {name: value for name, value in row.source.items() if name != "dropped"}


def base_model_object(row: BaseModelRow) -> BaseModelObject:
    """What the API shows of a row."""
    replaced = [file for file in row.source.get("files", ()) if file not in row.files]
    return BaseModelObject.model_validate(
        {
            "id": row.id,
            "created_at": row.created_at,
            "status": row.status,
            # The files of an upload are shown once, with the model.
            "source": {name: value for name, value in source_of(row).items() if name != "files"},
            "uri": row.uri,
            "files": row.files,
            "uploaded": replaced,
            "dropped": row.source.get("dropped", []),
            "architecture": row.architecture,
            "parameters": row.parameters,
            "error": row.error,
        }
    )
