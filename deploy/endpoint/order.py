"""The order that a server's process reads."""

from typing import Annotated
from typing import Literal
from typing import Self

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.document import StoredFile
from deploy.endpoint.protocol import Serve
from deploy.evidence.policy import Trust


class ServeOrder(Document):
    """:class:`deploy.endpoint.protocol.Serve` as a file."""

    version: Literal[1] = 1
    name: str
    model_id: Annotated[str, Field(min_length=1)]
    weights_uri: str
    files: Annotated[tuple[StoredFile, ...], Field(min_length=1, max_length=2000)]
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    trust: Trust | None = None
    """Orders of older versions ask for no evidence."""

    @classmethod
    def of(cls, order: Serve) -> Self:
        """The document of ``order``."""
        return cls(
            name=order.name,
            model_id=order.model_id,
            weights_uri=order.weights_uri,
            files=order.files,
            max_model_len=order.max_model_len,
            trust=order.trust,
        )
