"""Carries out what :mod:`service.reconcile.serving` decides."""

from functools import partial

from deploy.endpoint.protocol import EndpointBackend
from deploy.endpoint.protocol import EndpointError
from deploy.endpoint.protocol import Serve
from service.context import Context
from service.endpoints import repository
from service.endpoints.servable import find_servable
from service.reconcile import serving
from service.reconcile.background import Background
from service.tables import EndpointRow


class EndpointActions:
    """The hands of the reconciler, for endpoints."""

    def __init__(self, context: Context, backend: EndpointBackend, background: Background) -> None:
        self._context = context
        self._backend = backend
        self._background = background

    def apply(self, action: serving.Action, rows: dict[str, EndpointRow]) -> None:
        """Do one thing. Starting and stopping a server takes long and happens in the background."""
        match action:
            case serving.StopServer(name=name):
                self._run(("remove", name), partial(self._backend.remove, name))
            case serving.StartServer(endpoint_id=endpoint_id):
                self._start(rows[endpoint_id])
            case serving.SetStatus(endpoint_id=endpoint_id, status=status, url=url, reason=reason):
                self._set(rows[endpoint_id], status, url=url, reason=reason)

    def _run(self, key: tuple[str, str], work: partial[None]) -> None:
        self._background.submit(key, partial(_done, work))
        if self._background.outcome(key) is not None:
            self._background.forget(key)

    def _set(self, row: EndpointRow, status: str, *, url: str | None, reason: str | None) -> None:
        with self._context.database.writing() as session:
            active = None if status in serving.ENDED else row.active_model_id
            repository.change(session, row, status=status, url=url, reason=reason, active_model_id=active)

    def _start(self, row: EndpointRow) -> None:
        key = ("serve", row.id)
        outcome = self._background.outcome(key)
        if isinstance(outcome, EndpointError):
            self._background.forget(key)
            self._set(row, "failed", url=None, reason=str(outcome))
            return
        if outcome is not None:
            self._background.forget(key)
        with self._context.database.reading() as session:
            servable = find_servable(session, row.model_id)
        if servable is None:
            self._set(row, "failed", url=None, reason=f"The model {row.model_id} was deleted.")
            return
        order = Serve(
            name=row.id,
            model_id=row.model_id,
            weights_uri=servable.uri,
            files=servable.files,
            max_model_len=row.max_model_len,
        )
        self._background.submit(key, partial(self._serve, order))

    def _serve(self, order: Serve) -> EndpointError | bool:
        try:
            self._backend.serve(order)
        except EndpointError as error:
            return error
        return True


def _done(work: partial[None]) -> bool:
    work()
    return True
