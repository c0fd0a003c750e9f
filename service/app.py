"""The application: routers, handlers, and the companions that live as long as it does."""

from collections.abc import Sequence

from fastapi import APIRouter
from fastapi import FastAPI

from service import health
from service.auth import Authenticated
from service.base_models import endpoints as base_models
from service.companions import Companion
from service.companions import accompanied
from service.context import Context
from service.endpoints import endpoints
from service.files import endpoints as files
from service.handlers import install_handlers
from service.inference import endpoints as inference
from service.jobs import endpoints as jobs
from service.middleware import Around
from service.models import endpoints as models
from service.openapi import publish_document
from service.reports import endpoints as reports
from service.scans import endpoints as scans
from service.try_again import TryAgain
from service.uploads import endpoints as uploads

ROUTERS: tuple[APIRouter, ...] = (
    files.router,
    uploads.router,
    base_models.router,
    models.router,
    jobs.router,
    endpoints.router,
    inference.router,
    reports.router,
    scans.router,
)
"""Every router below ``/v1``."""


def create_app(context: Context, *, companions: Sequence[Companion] = ()) -> FastAPI:
    """Build the application of one process. Starts nothing: that is the lifespan's work."""
    app = FastAPI(
        title="Temper",
        summary="Hardens code language models against planted triggers.",
        lifespan=lambda _app: accompanied(context, companions),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    app.add_middleware(TryAgain, limit_bytes=context.settings.max_json_bytes)
    app.add_middleware(Around, metrics=context.metrics)
    install_handlers(app)
    app.include_router(health.router)
    for router in ROUTERS:
        app.include_router(router, prefix="/v1", dependencies=[Authenticated])
    publish_document(app)
    return app
