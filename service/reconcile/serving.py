"""What to do next about every endpoint. Pure, as :mod:`service.reconcile.tick` is for jobs."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from typing import Literal

from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server

Status = Literal["queued", "starting", "ready", "failed", "stopping", "stopped"]
ENDED: Final = frozenset({"failed", "stopped"})
SERVED: Final = frozenset({"starting", "ready"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredEndpoint:
    """One row, as far as decisions need it. Its id names its server."""

    id: str
    status: Status
    url: str | None = None
    remove_requested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartServer:
    """Start the server of an endpoint; one that exists already is left alone."""

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


Action = StartServer | StopServer | SetStatus


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
    elif row.status == "queued":
        if may_start:
            yield SetStatus(endpoint_id=row.id, status="starting")
    elif server is None:
        # It never started, or went away with the service that ran it.
        if row.status == "ready":
            yield SetStatus(endpoint_id=row.id, status="starting")
        yield StartServer(endpoint_id=row.id)
    elif server.phase is ServePhase.FAILED:
        yield SetStatus(endpoint_id=row.id, status="failed", reason=server.reason or "The server ended.")
    elif server.phase is ServePhase.READY and (row.status, row.url) != ("ready", server.base_url):
        yield SetStatus(endpoint_id=row.id, status="ready", url=server.base_url)
    elif server.phase is ServePhase.STARTING and row.status != "starting":
        yield SetStatus(endpoint_id=row.id, status="starting")


def _remove(row: DesiredEndpoint, server: Server | None) -> Iterator[Action]:
    if server is None:
        yield SetStatus(endpoint_id=row.id, status="stopped")
        return
    if row.status != "stopping":
        yield SetStatus(endpoint_id=row.id, status="stopping")
    yield StopServer(name=server.name)
