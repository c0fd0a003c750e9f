"""The application: routers, handlers, and the companions that live as long as it does."""

from collections.abc import Sequence

from fastapi import APIRouter
from fastapi import FastAPI

from service import health
from service.answers.failures import KeepFailures
from service.answers.once import Answered
from service.answers.once import replay
from service.audit import endpoints as audit
from service.audit.journal import Audited
from service.audit.journal import Journal
from service.audit.journal import lines_of
from service.auth import Authenticated
from service.base_models import endpoints as base_models
from service.companions import Companion
from service.companions import accompanied
from service.context import Context
from service.endpoints import endpoints
from service.evidence import endpoints as evidence
from service.files import endpoints as files
from service.handlers import install_handlers
from service.inference import endpoints as inference
from service.jobs import endpoints as jobs
from service.limits import endpoints as limits
from service.limits.limiter import Limiter
from service.limits.requests import Limited
from service.limits.requests import TellStanding
from service.middleware import Around
from service.models import endpoints as models
from service.openapi import publish_document
from service.projects import endpoints as projects
from service.reports import endpoints as reports
from service.scans import endpoints as scans
from service.try_again import TryAgain
from service.uploads import endpoints as uploads
from service.webhooks import endpoints as webhooks

ROUTERS: tuple[APIRouter, ...] = (
    files.router,
    uploads.router,
    base_models.router,
    evidence.router,  # before the models', whose ids may hold slashes
    models.router,
    jobs.router,
    endpoints.router,
    inference.router,
    reports.router,
    scans.router,
    projects.projects,
    projects.api_keys,
    limits.router,
    audit.router,
    webhooks.router,
)
"""Every router below ``/v1``."""


def create_app(context: Context, *, companions: Sequence[Companion] = ()) -> FastAPI:
    """Build the application of one process. Starts nothing: that is the lifespan's work."""
    settings = context.settings
    limiter = Limiter(context.database, settings.limits)
    lines = lines_of(settings.audit_lines)
    journal = Journal(context.database, context.clock, context.metrics, lines=lines)
    own: tuple[Companion, ...] = (lambda _context: journal.keeping(), lambda _context: limiter.keeping())
    app = FastAPI(
        title="Temper",
        summary="Hardens code language models against planted triggers.",
        lifespan=lambda _app: accompanied(context, (*own, *companions)),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.context, app.state.limiter = context, limiter
    app.add_middleware(TryAgain, limit_bytes=settings.max_json_bytes)
    app.add_middleware(TellStanding)
    app.add_middleware(Around, metrics=context.metrics)
    app.add_middleware(KeepFailures, database=context.database)
    app.add_middleware(Audited, journal=journal)
    install_handlers(app)
    app.add_exception_handler(Answered, replay)
    app.include_router(health.router)
    app.include_router(evidence.well_known)
    for router in ROUTERS:
        app.include_router(router, prefix="/v1", dependencies=[Authenticated, Limited])
    publish_document(app)
    return app
