"""The base of every document that crosses the seam: strict, frozen, closed, finite."""

import hashlib
from typing import Annotated
from typing import Self

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest as 64 lower-case hexadecimal digits."""


MAX_DOCUMENT_BYTES = 16 << 20
"""Of a document that its reader takes."""


class DocumentError(ValueError):
    """A document does not have the form that the contract demands."""


class Document(BaseModel):
    """A JSON document of the contract.

    Unknown fields, NaN and infinities are refused: a reader that ignores what it does not know
    would let a job and a service of different versions disagree in silence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    def to_bytes(self) -> bytes:
        """Serialise to UTF-8 JSON; the same document always gives the same bytes."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, limit_bytes: int = MAX_DOCUMENT_BYTES) -> Self:
        """Parse a document written by an untrusted hand.

        Raises:
            DocumentError: larger than ``limit_bytes``, not JSON, or not of this form; the message
                names the first offending path.
        """
        if len(data) > limit_bytes:
            raise DocumentError(f"{cls.__name__}: {len(data)} bytes, the limit is {limit_bytes}")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(str(part) for part in first["loc"]) or "(document)"
            raise DocumentError(f"{cls.__name__}: {path}: {first['msg']}") from error


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class StoredFile(Document):
    """One immutable object that makes part of a larger thing.

    ``name`` is relative to the prefix that holds it; ``size_bytes`` and ``sha256`` are of its whole
    content, and every reader verifies both before it uses a byte.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256
