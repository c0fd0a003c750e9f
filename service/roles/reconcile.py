"""``python -m service reconcile``: jobs, scans and endpoints. Of several replicas one works, the others wait."""

from contextlib import AbstractContextManager
from contextlib import ExitStack

from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.responses import Response

from service import health
from service.companions import accompanied
from service.context import Context
from service.context import ContextDep
from service.embedded import reconciler_of
from service.evidence.keyring import open_keyring
from service.home import holding
from service.leading import hangs
from service.leading import leading
from service.roles.listening import listen
from service.roles.opening import opened
from service.schema import await_schema
from service.settings import Settings
from service.tidy import clearing_scratch


def run(settings: Settings) -> None:
    """Reconcile until a signal ends it. Raises SettingsError, SchemaError, HomeInUse."""
    open_keyring(settings)  # a key that is missing or of another kind is told of at once
    with opened(settings, schema=await_schema) as context, ExitStack() as held:
        if not context.database.shared:
            held.enter_context(holding(settings.home))
        listen(create_reconciler_app(context), settings)


def create_reconciler_app(context: Context) -> FastAPI:
    """Health and figures over HTTP; the work goes on in threads beside it."""
    app = FastAPI(
        lifespan=lambda _app: accompanied(context, (clearing_scratch, _leading)),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    app.add_api_route("/healthz", _healthz)
    app.include_router(health.router)
    return app


def _leading(context: Context) -> AbstractContextManager[None]:
    return leading(context, reconciler_of)


def _healthz(context: ContextDep) -> Response:
    """The process is alive, and if it leads, it works."""
    if hangs(context):
        return JSONResponse({"status": "the reconciler hangs"}, status_code=503)
    return JSONResponse({"status": "ok"})
