"""Creating something once, however often its request comes: ``Idempotency-Key``.

The key is taken in the very transaction that creates, and the answer is kept in it too. So of fifty equal requests
at once the index lets one create; the others wait for its transaction and get its answer. A crash before the commit
leaves nothing, not even the key; one after it leaves the thing and the answer. What is refused (4xx, 503) is not
kept, and may be sent again; a failure that nobody foresaw (500) is, as the rule goes, for what it left is not known.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated
from typing import Any
from typing import Final
from typing import TypeVar
from typing import cast

from fastapi import Depends
from fastapi import Header
from fastapi import Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from deploy.contract.document import sha256_hex
from service.answers.repository import AnswerRepository
from service.auth import Caller
from service.errors import PROBLEM_JSON
from service.errors import BadRequest
from service.errors import ServiceError
from service.errors import Unavailable

MAX_KEY_CHARS: Final = 255
REPLAYED: Final = {"idempotent-replayed": "true"}
STATE: Final = "temper_once"
View = TypeVar("View", bound=BaseModel)


class IdempotencyMismatch(ServiceError):  # noqa: N818 - the names of HTTP
    """The Idempotency-Key was used for another request."""

    status = 422
    type = "invalid_request_error"
    default_code = "idempotency_mismatch"


class Answered(Exception):  # noqa: N818 - no error: the request was served before
    """There is an answer to this request already."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


@dataclass(slots=True)
class Claim:
    """What one request says about being one of several. Without a key every request creates anew."""

    project: str
    key: str | None
    route: str
    body_sha256: str | None = None
    """Once the request has begun."""

    def begin(self, session: Session, body: BaseModel | str) -> None:
        """Take the key; before anything else is read or locked in the transaction that creates.

        Args:
            session: writing.
            body: of the request, or a text that says all of what is asked.

        Raises:
            Answered: a request like this one was served before.
            IdempotencyMismatch: the key belongs to another request.
        """
        if self.key is None:
            return
        asked = body if isinstance(body, str) else json.dumps(body.model_dump(mode="json"), sort_keys=True)
        self.body_sha256 = sha256_hex(asked.encode("utf-8", "surrogatepass"))
        held = self._answers(session).claim(self.key, body_sha256=self.body_sha256)
        if held is None:
            return
        if held.body_sha256 != self.body_sha256:
            self.body_sha256 = None  # whatever comes of this request is not the answer to the other one
            raise IdempotencyMismatch("This Idempotency-Key was used for another request.")
        if held.status is None or held.body is None:
            raise Unavailable("The first request with this Idempotency-Key goes on.", code="idempotency_busy")
        raise Answered(held.status, held.body)

    def is_known(self, session: Session) -> bool:
        """Whether the key was taken before, by whatever request."""
        return self.key is not None and self._answers(session).is_taken(self.key)

    def _answers(self, session: Session) -> AnswerRepository:
        return AnswerRepository(session, self.project, self.route)

    def done(self, session: Session, view: View, *, hide: Collection[str] = ()) -> View:
        """Keep the answer, in the transaction that creates; a later call replaces it. Returns the view as it is.

        Args:
            session: writing.
            view: what is answered.
            hide: members that are kept as null, for they are told once: secrets.
        """
        if self.key is not None and self.body_sha256 is not None:
            shown: dict[str, Any] = view.model_dump(mode="json", by_alias=True)
            shown |= dict.fromkeys(hide)
            self._answers(session).keep(self.key, status=200, body=_json(shown))
        return view


def claim_of(
    request: Request, caller: Caller, idempotency_key: Annotated[str | None, Header()] = None
) -> Claim:
    """What a request says. Raises BadRequest for a key that cannot be one."""
    key = idempotency_key
    if key is not None and not (
        0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable() and key.strip()
    ):
        raise BadRequest(
            f"Idempotency-Key must have 1 to {MAX_KEY_CHARS} printable ASCII characters.",
            code="invalid_idempotency_key",
        )
    claim = Claim(project=caller.project, key=key, route=f"{request.method} {request.scope['path']}")
    request.scope["state"][STATE] = claim
    return claim


Once = Annotated[Claim, Depends(claim_of)]
"""An endpoint's argument; ``begin`` and ``done`` go into its transaction."""


async def replay(_request: Request, error: Exception) -> Response:
    """The answer that was given before."""
    answered = cast(Answered, error)
    media_type = "application/json" if answered.status < 400 else PROBLEM_JSON
    return Response(answered.body, status_code=answered.status, media_type=media_type, headers=REPLAYED)


def _json(document: dict[str, Any]) -> str:
    # As the first answer was written, byte for byte.
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
