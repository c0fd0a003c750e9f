"""``python -m service reconcile``: jobs, scans and endpoints. Of several replicas one works, the others wait."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.responses import Response

from service import health
from service.context import Context
from service.context import ContextDep
from service.embedded import reconciler_of
from service.home import holding
from service.leading import hangs
from service.leading import leading
from service.roles.listening import listen
from service.roles.opening import ask_store
from service.roles.opening import await_database
from service.roles.opening import context_of
from service.roles.opening import database_of
from service.roles.opening import log_to_stderr
from service.roles.opening import store_of
from service.schema import await_schema
from service.settings import Settings
from service.tidy import clearing_scratch


def run(settings: Settings) -> None:
    """Reconcile until a signal ends it. Raises SettingsError, SchemaError, HomeInUse."""
    log_to_stderr(settings)
    store, database = store_of(settings), database_of(settings)
    try:
        await_database(database)
        ask_store(store)
        await_schema(database)
        context = context_of(settings, store, database)
        with ExitStack() as held:
            if not database.shared:
                held.enter_context(holding(settings.home))
            listen(create_reconciler_app(context), settings)
    finally:
        database.close()


def create_reconciler_app(context: Context) -> FastAPI:
    """Health and figures over HTTP; the work goes on in threads beside it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            await run_sync(stack.enter_context, clearing_scratch(context))
            await run_sync(stack.enter_context, leading(context, reconciler_of))
            try:
                yield
            finally:
                context.stopping.set()
                context.checks.shutdown(wait=False, cancel_futures=True)
                await run_sync(stack.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.context = context
    app.add_api_route("/healthz", _healthz)
    app.include_router(health.router)
    return app


def _healthz(context: ContextDep) -> Response:
    """The process is alive, and if it leads, it works."""
    if hangs(context):
        return JSONResponse({"status": "the reconciler hangs"}, status_code=503)
    return JSONResponse({"status": "ok"})
