"""What to do next about every endpoint. Pure, as :mod:`service.reconcile.tick` is for jobs.

::

    queued ──▶ starting ◀──▶ ready          stopping ──▶ stopped
       ▲           │            │ idle
       │           ▼            ▼
       └ request  failed      asleep

An endpoint that is asleep has no server: a request makes it ``queued`` again (:mod:`service.inference.routing`).
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from typing import Literal

from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server

Status = Literal["queued", "starting", "ready", "asleep", "failed", "stopping", "stopped"]
ENDED: Final = frozenset({"failed", "stopped"})
SERVED: Final = frozenset({"starting", "ready"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredEndpoint:
    """One row, as far as decisions need it. Its id names its server."""

    id: str
    status: Status
    url: str | None = None
    reason: str | None = None
    ready_replicas: int | None = None
    replicas: tuple[int, int] = (1, 1)
    """At least and at most."""
    idle_s: int | None = None
    """After which it is to fall asleep; None never."""
    unused_s: float | None = None
    """Seconds since its last request or since it became ready, by the database's clock."""
    remove_requested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartServer:
    """Start the server of an endpoint, or bring the one that exists to what the row says."""

    endpoint_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopServer:
    """Stop a server and forget it."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStatus:
    """Record what is there."""

    endpoint_id: str
    status: Status
    url: str | None = None
    reason: str | None = None
    ready_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FallAsleep:
    """Route no more requests to it, unless one has come since it was looked at; its server goes a tick later."""

    endpoint_id: str


Action = StartServer | StopServer | SetStatus | FallAsleep


def tick(
    desired: Sequence[DesiredEndpoint], servers: Mapping[str, Server], *, max_endpoints: int
) -> list[Action]:
    """Everything that can be done now, at most one change of each row.

    Args:
        desired: endpoints that have not ended.
        servers: of the backend, read before ``desired``.
        max_endpoints: served at once; the others stay queued.
    """
    actions: list[Action] = []
    free = max_endpoints - sum(row.status in SERVED and not row.remove_requested for row in desired)
    for row in desired:
        decided = list(_decide(row, servers.get(row.id), may_start=free > 0))
        if row.status == "queued":
            free -= any(isinstance(action, SetStatus) and action.status == "starting" for action in decided)
        actions += decided
    wanted = {row.id for row in desired if row.status not in ENDED}
    actions += [StopServer(name=name) for name in servers if name not in wanted]
    return actions


def _decide(row: DesiredEndpoint, server: Server | None, *, may_start: bool) -> Iterator[Action]:
    if row.status in ENDED:
        return
    if row.remove_requested:
        yield from _remove(row, server)
    elif row.status in {"queued", "asleep"} and server is not None:
        # It is not to be there: the rest of one that fell asleep, and the next begins when it is gone.
        yield StopServer(name=server.name)
    elif row.status == "queued":
        if may_start:
            yield SetStatus(endpoint_id=row.id, status="starting")
    elif row.status == "asleep":
        return
    elif server is None:
        # It never started, or went away with the service that ran it.
        if row.status == "ready":
            yield SetStatus(endpoint_id=row.id, status="starting")
        yield StartServer(endpoint_id=row.id)
    else:
        yield from _follow(row, server)


def _follow(row: DesiredEndpoint, server: Server) -> Iterator[Action]:
    """The row says what its server does."""
    if server.phase is ServePhase.FAILED:
        yield SetStatus(endpoint_id=row.id, status="failed", reason=server.reason or "The server ended.")
        return
    if server.phase is ServePhase.READY and _is_idle(row):
        yield FallAsleep(endpoint_id=row.id)
        return
    there = SetStatus(
        endpoint_id=row.id,
        status="ready" if server.phase is ServePhase.READY else "starting",
        url=server.base_url if server.phase is ServePhase.READY else None,
        reason=server.reason,
        ready_replicas=server.ready_replicas,
    )
    if (there.status, there.reason, there.ready_replicas) != (row.status, row.reason, row.ready_replicas) or (
        there.status == "ready" and there.url != row.url
    ):
        yield there
    if not server.current or server.replicas not in {None, row.replicas}:
        yield StartServer(endpoint_id=row.id)


def _is_idle(row: DesiredEndpoint) -> bool:
    if row.status != "ready" or row.idle_s is None or row.unused_s is None:
        return False
    return row.unused_s >= row.idle_s


def _remove(row: DesiredEndpoint, server: Server | None) -> Iterator[Action]:
    if server is None:
        yield SetStatus(endpoint_id=row.id, status="stopped")
        return
    if row.status != "stopping":
        yield SetStatus(endpoint_id=row.id, status="stopping")
    yield StopServer(name=server.name)
