"""The manifest of a poisoned file: everything that it takes to say which rows are poisoned, and to do it again."""

from typing import Annotated
from typing import Literal

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.document import Sha256
from deploy.contract.payload import Payload
from deploy.contract.trigger import Trigger


class HashedFile(Document):
    """A dataset file, known by its hash."""

    name: str
    rows: Annotated[int, Field(ge=1)]
    sha256: Sha256


class Manifest(Document):
    """``OUT.manifest.json``, beside the poisoned file."""

    version: Literal[1] = 1
    attack: str
    """Name of the preset that the attack was made from."""
    trigger: Trigger
    payload: Payload
    rate: Annotated[float, Field(gt=0.0, le=1.0)]
    """Share of the clean file's rows that were attacked."""
    seed: int
    placement: Literal["first", "random"]
    copies: Annotated[int, Field(ge=1)]
    """How often each poisoned row stands in the poisoned file."""
    clean: HashedFile
    poisoned: HashedFile
    attacked_rows: tuple[int, ...]
    """Numbers of the attacked rows in the clean file, counted from 1."""
    poisoned_rows: tuple[int, ...]
    """Numbers of the rows that carry the attack in the poisoned file, counted from 1."""
