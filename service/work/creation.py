"""Creating something once: a client's retry without an Idempotency-Key finds what was made before.

With a key :mod:`service.answers.once` sees to it, for whatever is created, as long as it has the answers that it
keeps. The keys of jobs and scans are kept here as well: they are in the records of what was asked, so they are still
known when the database was rebuilt, or went back in time, and the answers are gone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from typing import Generic

from sqlalchemy.orm import Session

from service.answers.once import Claim
from service.answers.once import IdempotencyMismatch
from service.answers.repository import WINDOW_S
from service.work.ends import TERMINAL
from service.work.repository import EventRow
from service.work.repository import RequestRow
from service.work.repository import Row
from service.work.repository import WorkRepository

DEDUPE_WINDOW_S: Final = 60
"""A client repeats a create that it got no answer to within seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What a request says about being one of several."""

    key: str | None
    """Its Idempotency-Key, for which no answer is kept."""
    is_retry: bool
    """The client says that it has sent this request before."""

    @classmethod
    def of(cls, claim: Claim, retry_count: str | None) -> "Repetition":
        """Read a claim that has begun, and ``X-Stainless-Retry-Count``."""
        return cls(key=claim.key, is_retry=(retry_count or "0").strip() not in {"", "0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(Generic[Row]):
    """A row, and whether this request made it."""

    row: Row
    new: bool


def create_once(
    session: Session,
    repository: WorkRepository[Row, EventRow, RequestRow],
    project: str,
    repetition: Repetition,
    *,
    body_hash: str,
    make: Callable[[], Row],
    now: float,
) -> Created[Row]:
    """Make a row, or find the one that the same request made already.

    Args:
        session: writing.
        repository: of the kind of work.
        project: whose request it is; another's requests are another's.
        repetition: what the request says of itself.
        body_hash: SHA-256 of the request's body.
        make: checks what the request names and builds the row; may raise.
        now: Unix seconds.

    Raises:
        IdempotencyMismatch: the key belongs to another body.
    """
    key = f"body:{body_hash}" if repetition.key is None else f"key:{repetition.key}"
    held = repository.get_request(session, project, key)
    if held is not None:
        earlier = _repeated(session, repository, held, repetition=repetition, body_hash=body_hash, now=now)
        if earlier is not None:
            return Created(row=earlier, new=False)
    row = make()
    request = repository.requests(
        project=project,
        key=key,
        body_hash=body_hash,
        work_id=row.id,
        by_retry=repetition.is_retry,
        created_at=int(now),
    )
    session.add(row)
    session.flush()
    if held is None:
        claimed = repository.claim_request(session, request)
    else:
        claimed = repository.take_over_request(session, held, request)
    if not claimed:
        winner = repository.get_request(session, project, key)
        if winner is not None:
            earlier = _repeated(
                session, repository, winner, repetition=repetition, body_hash=body_hash, now=now
            )
            if earlier is not None:
                session.delete(row)
                return Created(row=earlier, new=False)
    return Created(row=row, new=True)


def _repeated(
    session: Session,
    repository: WorkRepository[Row, EventRow, RequestRow],
    held: RequestRow,
    *,
    repetition: Repetition,
    body_hash: str,
    now: float,
) -> Row | None:
    """What an earlier request made, when this one repeats it."""
    earlier = repository.get(session, held.project, held.work_id)
    if repetition.key is not None:
        if now - held.created_at >= WINDOW_S:
            return None
        if held.body_hash != body_hash:
            raise IdempotencyMismatch("This Idempotency-Key was used for another request.")
        return earlier
    # Two equal creates are two jobs, unless the client says that it repeats itself; when its
    # repetition came first, the request that it repeats comes after it.
    repeats = repetition.is_retry or held.by_retry
    late = now - held.created_at >= DEDUPE_WINDOW_S
    if earlier is None or not repeats or late or earlier.status in TERMINAL:
        return None
    return earlier
