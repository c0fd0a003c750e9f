"""What is told of a request that changed something or was refused: ids alone, never a body, a header or a secret."""

import json
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any
from typing import Final

from sqlalchemy.orm import Session
from starlette.types import Scope

from service.audit.rows import AuditRow
from service.ids import new_id
from service.middleware import route_of
from service.unix_seconds import unix_seconds

PRINCIPAL: Final = "principal"
"""In a request's state: who asks, once that is known."""
RESOURCE: Final = "audit_resource"
WRITTEN: Final = "audit_written"
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
COMPLETIONS: Final = frozenset({"/v1/completions", "/v1/chat/completions"})
"""Routes that are POST and change nothing."""
REFUSALS: Final = frozenset({401, 403, 429})
MAX_ID_CHARS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row to be."""

    project: str | None
    key_id: str | None
    action: str
    resource: str | None
    status: int
    code: str | None
    request_id: str
    address: str | None
    times: int = 1

    def line(self, at: float) -> str:
        """For collectors of logs: one JSON object, of ASCII alone, so that nothing in it ends the line."""
        return json.dumps({"event": "audit", "at": at, **asdict(self)})


def is_change(scope: Scope) -> bool:
    """Whether a request is of a kind that changes something."""
    return scope["method"] not in READS and route_of(scope) not in COMPLETIONS


def entry_of(scope: Scope, *, status: int, code: str | None = None) -> Entry:
    """What is told of a request."""
    state = scope.get("state", {})
    principal: Any = state.get(PRINCIPAL)
    client = scope.get("client")
    return Entry(
        project=None if principal is None else principal.project,
        key_id=None if principal is None else principal.key_id,
        action=f"{scope['method'][:16]} {route_of(scope)}",
        resource=_resource(scope, state),
        status=status,
        code=code,
        request_id=str(state.get("request_id", "")),
        address=None if client is None else str(client[0])[:64],
    )


def _resource(scope: Scope, state: dict[str, Any]) -> str | None:
    made = state.get(RESOURCE)
    if made is not None:
        return str(made)[:MAX_ID_CHARS]
    # The ids in a path; what is no id of ours is some text of the client's, and PostgreSQL takes no NUL.
    parts = [str(part) for part in scope.get("path_params", {}).values()]
    return "/".join(parts).replace("\0", "")[:MAX_ID_CHARS] or None


def write(session: Session, entry: Entry) -> None:
    """Add a row within a transaction."""
    session.add(AuditRow(id=new_id("audit"), at=unix_seconds(), **asdict(entry)))


def write_with_change(session: Session, scope: Scope) -> None:
    """Add the row of a request in the transaction that changes something; its success is that this commits."""
    # Each time: a transaction that lost against another one is served again, and took its row with it.
    if is_change(scope):
        scope["state"][WRITTEN] = True
        write(session, entry_of(scope, status=200))
