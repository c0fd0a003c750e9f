"""The broker's application."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi import Request
from starlette.responses import Response

from deploy.store.broker_wire import CODE_HEADER
from deploy.store.broker_wire import INVALID_KEY
from deploy.store.broker_wire import OBJECT_MISSING
from deploy.store.brokered import BrokeredStore
from deploy.store.opening import InvalidUri
from deploy.store.protocol import InvalidKey
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import StoreError
from service import health
from service.broker import endpoints
from service.broker.admission import Admission
from service.broker.authorisation import Accounts
from service.broker.authoriser import Authoriser
from service.broker.authoriser import DatabaseAuthoriser
from service.broker.broker import Broker
from service.broker.identity import Reviewer
from service.broker.instruments import Instruments
from service.broker.limits import BrokerLimits
from service.broker.patience import Patience
from service.broker.quota import Quotas
from service.broker.reviews import RememberingReviewer
from service.broker.uploads import sweep
from service.context import Context
from service.environment import SettingsError
from service.errors import BadGateway
from service.errors import BadRequest
from service.errors import NotFound
from service.errors import ServiceError
from service.errors import problem_response
from service.handlers import install_handlers
from service.middleware import Around

logger = logging.getLogger(__name__)
SWEEP_EVERY_S: Final = 6 * 3600.0
"""What is swept is a day old; when exactly does not matter."""


def create_broker_app(
    context: Context,
    *,
    reviewer: Reviewer | None = None,
    authoriser: Authoriser | None = None,
    limits: BrokerLimits | None = None,
) -> FastAPI:
    """Build the application of one broker process.

    Args:
        context: of the process.
        reviewer: tells whose a token is; None asks the cluster that this process runs in.
        authoriser: tells what a pod may do; None goes by the service's rows and specs.
        limits: None takes those of the settings.

    Raises:
        SettingsError: there is no cluster to ask, or the process would be its own client.
    """
    if isinstance(context.store, BrokeredStore):
        raise SettingsError(
            "TEMPER_BROKER_URL is for the pods of jobs and endpoints; the broker opens the store itself"
        )
    limits = limits or context.settings.broker
    broker = Broker(
        context=context,
        reviewer=RememberingReviewer(reviewer or _cluster_reviewer(context)),
        authoriser=authoriser or _database_authoriser(context, limits),
        limits=limits,
        instruments=Instruments(context.metrics.registry),
        admission=Admission(per_s=limits.requests_per_s, burst=limits.burst, in_flight=limits.in_flight),
        newcomers=Admission(
            per_s=limits.reviews_per_s, burst=max(1, round(5 * limits.reviews_per_s)), in_flight=1
        ),
        quotas=Quotas(context.store, limits),
        threads=CapacityLimiter(limits.transfers),
    )
    app = FastAPI(
        title="Temper's broker",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    app.state.broker = broker
    app.add_middleware(Around, metrics=context.metrics)
    app.add_middleware(Patience, idle_s=limits.idle_s)
    _install_handlers(app)
    app.include_router(health.router)
    app.include_router(endpoints.router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: Context = app.state.context
    async with anyio.create_task_group() as beside:
        beside.start_soon(_sweep_now_and_then, context)
        try:
            yield
        finally:
            context.stopping.set()
            beside.cancel_scope.cancel()


async def _sweep_now_and_then(context: Context) -> None:
    while True:
        try:
            removed = await run_sync(sweep, context.store)
            logger.info("removed what %d unfinished writes left", removed)
        except StoreError as error:  # requests will tell that the store is down
            logger.warning("unfinished writes were not removed: %s", error)
        await anyio.sleep(SWEEP_EVERY_S)


def _cluster_reviewer(context: Context) -> Reviewer:
    # The client takes most of a second to import, and tests bring their own reviewer.
    from kubernetes.config import ConfigException

    from service.broker.kubernetes_reviewer import KubernetesReviewer
    from service.broker.kubernetes_reviewer import cluster_configuration

    cluster = context.settings.cluster
    if cluster is None:
        raise SettingsError("TEMPER_CLUSTER_FILE: the broker needs the cluster's settings")
    try:
        return KubernetesReviewer(cluster.broker_audience, cluster_configuration())
    except ConfigException as error:
        raise SettingsError(f"the broker found no cluster to ask about tokens: {error}") from error


def _database_authoriser(context: Context, limits: BrokerLimits) -> Authoriser:
    cluster = context.settings.cluster
    if cluster is None:
        raise SettingsError("TEMPER_CLUSTER_FILE: the broker needs the cluster's settings")
    return DatabaseAuthoriser(context, Accounts.of(cluster), read_grace_s=limits.read_grace_s)


def _install_handlers(app: FastAPI) -> None:
    install_handlers(app)
    app.add_exception_handler(ObjectMissing, _object_missing)
    app.add_exception_handler(InvalidKey, _invalid_key)
    app.add_exception_handler(InvalidUri, _invalid_key)
    app.add_exception_handler(StoreError, _store_error)


def _respond(request: Request, error: ServiceError) -> Response:
    error.headers[CODE_HEADER] = error.code
    return problem_response(error, instance=f"urn:temper:request:{request.state.request_id}")


async def _object_missing(request: Request, error: Exception) -> Response:
    return _respond(request, NotFound(f"{error}.", code=OBJECT_MISSING))


async def _invalid_key(request: Request, error: Exception) -> Response:
    return _respond(request, BadRequest(f"{error}.", code=INVALID_KEY))


async def _store_error(request: Request, error: Exception) -> Response:
    logger.error("object store failed: %s", error)
    return _respond(request, BadGateway(f"The object store failed: {error}.", code="store_error"))
