"""Creating something once, however often its request comes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from typing import Generic

from sqlalchemy.orm import Session

from service.errors import BadRequest
from service.errors import ServiceError
from service.work.ends import TERMINAL
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.repository import WorkRepository

DEDUPE_WINDOW_S: Final = 60
"""A client repeats a create that it got no answer to within seconds."""
IDEMPOTENCY_WINDOW_S: Final = 24 * 3600
MAX_IDEMPOTENCY_KEY_CHARS: Final = 255


class IdempotencyMismatch(ServiceError):  # noqa: N818 - the names of HTTP
    """The Idempotency-Key was used for another request."""

    status = 422
    type = "invalid_request_error"
    default_code = "idempotency_mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What a request says about being one of several."""

    idempotency_key: str | None
    is_retry: bool
    """The client says that it has sent this request before."""

    @classmethod
    def from_headers(cls, idempotency_key: str | None, retry_count: str | None) -> "Repetition":
        """Read ``Idempotency-Key`` and ``X-Stainless-Retry-Count``."""
        return cls(idempotency_key=idempotency_key, is_retry=(retry_count or "0").strip() not in {"", "0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(Generic[Row]):
    """A row, and whether this request made it."""

    row: Row
    new: bool


def create_once(
    session: Session,
    repository: WorkRepository[Row, EventRow, RequestRow],
    repetition: Repetition,
    body_hash: str,
    make: Callable[[], Row],
    *,
    now: float,
) -> Created[Row]:
    """Make a row, or find the one that the same request made already.

    Args:
        session: writing.
        repository: of the kind of work.
        repetition: what the request says of itself.
        body_hash: SHA-256 of the request's body.
        make: checks what the request names and builds the row.
        now: Unix seconds.

    Raises:
        BadRequest: the key is malformed; whatever ``make`` raises.
        IdempotencyMismatch: the key belongs to another body.
    """
    key = _request_key(repetition, body_hash)
    held = repository.get_request(session, key)
    if held is not None:
        earlier = _answer_of(session, repository, held, repetition=repetition, body_hash=body_hash, now=now)
        if earlier is not None:
            return Created(row=earlier, new=False)
    row = make()
    request = repository.requests(
        key=key, body_hash=body_hash, work_id=row.id, by_retry=repetition.is_retry, created_at=int(now)
    )
    session.add(row)
    session.flush()
    if held is None:
        claimed = repository.claim_request(session, request)
    else:
        claimed = repository.take_over_request(session, held, request)
    if not claimed:
        winner = repository.get_request(session, key)
        if winner is not None:
            earlier = _answer_of(
                session, repository, winner, repetition=repetition, body_hash=body_hash, now=now
            )
            if earlier is not None:
                session.delete(row)
                return Created(row=earlier, new=False)
    return Created(row=row, new=True)


def _request_key(repetition: Repetition, body_hash: str) -> str:
    key = repetition.idempotency_key
    if key is None:
        return f"body:{body_hash}"
    if not key or len(key) > MAX_IDEMPOTENCY_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise BadRequest(
            f"Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY_CHARS} printable ASCII characters.",
            code="invalid_idempotency_key",
        )
    return f"key:{key}"


def _answer_of(
    session: Session,
    repository: WorkRepository[Row, EventRow, RequestRow],
    held: RequestRow,
    *,
    repetition: Repetition,
    body_hash: str,
    now: float,
) -> Row | None:
    """What an earlier request made, when this one repeats it."""
    age_s = now - held.created_at
    earlier = repository.get(session, held.work_id)
    if repetition.idempotency_key is not None:
        if age_s >= IDEMPOTENCY_WINDOW_S:
            return None
        if held.body_hash != body_hash:
            raise IdempotencyMismatch("This Idempotency-Key was used with another body.")
        return earlier
    # Two equal creates are two jobs, unless the client says that it repeats itself; when its
    # repetition came first, the request that it repeats comes after it.
    repeats = repetition.is_retry or held.by_retry
    if earlier is None or not repeats or age_s >= DEDUPE_WINDOW_S or earlier.status in TERMINAL:
        return None
    return earlier
