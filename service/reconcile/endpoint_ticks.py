"""One tick of the endpoints: looks at rows and servers, lets :mod:`service.reconcile.serving` decide, acts."""

from collections.abc import Iterable
from typing import Final

from deploy.endpoint.protocol import EndpointBackend
from service.context import Context
from service.endpoints import fleet
from service.evidence.keyring import Keyring
from service.reconcile import serving
from service.reconcile.background import Background
from service.reconcile.endpoint_actions import EndpointActions
from service.reconcile.instruments import Instruments
from service.tables import EndpointRow

STATUSES: Final = ("queued", "starting", "ready", "asleep", "stopping")


class EndpointTicks:
    """Brings endpoints where their rows want them."""

    def __init__(
        self,
        context: Context,
        backend: EndpointBackend,
        background: Background,
        instruments: Instruments,
        *,
        keyring: Keyring,
    ) -> None:
        self._context = context
        self._backend = backend
        self._instruments = instruments
        self._actions = EndpointActions(context, backend, background, keyring)

    def tick(self) -> int:
        """Look and act once. Returns how many actions there were."""
        servers = dict(self._backend.observe())  # before the rows: see serving.tick()
        with self._context.database.reading() as session:
            rows = {row.id: row for row in fleet.unfinished(session)}
            unused_s = fleet.unused_s(session)
        self._count(rows.values())
        actions = serving.tick(
            [_desired(row, unused_s.get(row.id)) for row in rows.values()],
            servers,
            max_endpoints=self._context.settings.max_endpoints,
        )
        for action in actions:
            with self._instruments.guard(type(action).__name__):
                self._actions.apply(action, rows)
        return len(actions)

    def _count(self, rows: Iterable[EndpointRow]) -> None:
        found = [row.status for row in rows]
        for status in STATUSES:
            self._instruments.endpoints.labels(status).set(found.count(status))


def _desired(row: EndpointRow, unused_s: float | None) -> serving.DesiredEndpoint:
    return serving.DesiredEndpoint(
        id=row.id,
        status=row.status,  # type: ignore[arg-type]  # the column holds nothing else
        url=row.url,
        reason=row.reason,
        ready_replicas=row.ready_replicas,
        replicas=(row.min_replicas, row.max_replicas),
        idle_s=row.idle_s,
        unused_s=unused_s,
        remove_requested=row.remove_requested,
    )
