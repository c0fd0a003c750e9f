"""Carries out what :mod:`service.reconcile.serving` decides."""

import json
import logging
import time
from functools import partial
from typing import Any
from typing import Final

from deploy.contract.resources import ANY_RESOURCES
from deploy.contract.resources import Resources
from deploy.endpoint.protocol import EndpointBackend
from deploy.endpoint.protocol import EndpointRefused
from deploy.endpoint.protocol import Serve
from deploy.evidence.policy import ServePolicy
from service.context import Context
from service.endpoints import fleet
from service.endpoints import repository
from service.endpoints.acceptance import trust_of
from service.endpoints.servable import find_servable
from service.evidence.keyring import Keyring
from service.reconcile import serving
from service.reconcile.background import Background
from service.tables import EndpointRow
from service.unix_seconds import whole_unix_seconds
from service.webhooks.events import event_of_endpoint
from service.webhooks.outbox import announce

logger = logging.getLogger(__name__)
TOLD: Final = frozenset({"ready", "failed"})
"""Statuses that webhooks are told of."""
REFUSED_S: Final = 60.0
"""After which an endpoint that answers is tried to be changed again."""


class EndpointActions:
    """The hands of the reconciler, for endpoints."""

    def __init__(
        self, context: Context, backend: EndpointBackend, background: Background, keyring: Keyring
    ) -> None:
        self._context = context
        self._keyring = keyring
        self._backend = backend
        self._background = background
        self._stays_until: dict[str, float] = {}

    def apply(self, action: serving.Action, rows: dict[str, EndpointRow]) -> None:
        """Do one thing. Starting and stopping a server takes long and happens in the background."""
        match action:
            case serving.StopServer(name=name):
                self._run(("remove", name), partial(self._backend.remove, name))
            case serving.StartServer(endpoint_id=endpoint_id):
                self._start(rows[endpoint_id])
            case serving.SetStatus():
                self._set(rows[action.endpoint_id], action)
            case serving.FallAsleep(endpoint_id=endpoint_id):
                with self._context.database.writing() as session:
                    fleet.fall_asleep(session, rows[endpoint_id])

    def _run(self, key: tuple[str, str], work: partial[None]) -> None:
        self._background.submit(key, partial(_done, work))
        if self._background.outcome(key) is not None:
            self._background.forget(key)

    def _set(self, row: EndpointRow, there: serving.SetStatus) -> None:
        values: dict[str, Any] = {"url": there.url, "reason": there.reason}
        values["ready_replicas"] = there.ready_replicas
        if there.status in serving.ENDED:
            values["active_model_id"] = None
        if there.status == "ready" and row.status != "ready":
            values["last_used_at"] = whole_unix_seconds()  # whoever waited for it has its time from here
        with self._context.database.writing() as session:
            changed = repository.change(session, row, status=there.status, **values)
            if changed and there.status in TOLD and there.status != row.status:
                at = int(self._context.clock.now())
                told = event_of_endpoint(row.id, row.version, there.status, row.model_id, at=at)
                announce(session, row.project, [told])

    def _start(self, row: EndpointRow) -> None:
        if row.status == "ready" and time.monotonic() < self._stays_until.get(row.id, 0.0):
            return
        key = ("serve", row.id)
        outcome = self._background.outcome(key)
        if isinstance(outcome, EndpointRefused):
            self._background.forget(key)
            self._refused(row, outcome)
            return
        if outcome is not None:
            self._background.forget(key)
        with self._context.database.reading() as session:
            servable = find_servable(session, row.project, row.model_id)
        if servable is None:
            self._fail(row, f"The model {row.model_id} was deleted.")
            return
        settings = self._context.settings.evidence
        if servable.arm not in settings.serve_arms:
            self._fail(row, f"This service serves no {servable.arm} models.")
            return
        policy = None if row.policy is None else ServePolicy.model_validate_json(json.dumps(row.policy))
        order = Serve(
            name=row.id,
            model_id=row.model_id,
            weights_uri=servable.uri,
            files=servable.files,
            trust=trust_of(servable, policy, settings, self._keyring),
            max_model_len=row.max_model_len,
            resources=ANY_RESOURCES if row.resources is None else Resources.model_validate(row.resources),
            replicas=row.min_replicas,
            max_replicas=row.max_replicas,
        )
        self._background.submit(key, partial(self._serve, order))

    def _refused(self, row: EndpointRow, error: EndpointRefused) -> None:
        if row.status != "ready":
            self._fail(row, str(error))
            return
        # It answers as it is. What it was to become can wait; whoever uses it cannot.
        logger.warning("%s stays as it is: %s", row.id, error)
        self._stays_until[row.id] = time.monotonic() + REFUSED_S

    def _fail(self, row: EndpointRow, reason: str) -> None:
        self._set(row, serving.SetStatus(endpoint_id=row.id, status="failed", reason=reason))

    def _serve(self, order: Serve) -> EndpointRefused | bool:
        try:
            self._backend.serve(order)
        except EndpointRefused as error:
            return error
        return True


def _done(work: partial[None]) -> bool:
    work()
    return True
