"""From a model's id to the server that answers for it; wakes an endpoint that sleeps."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from anyio.to_thread import run_sync
from sqlalchemy.orm import Session

from service.base_models.repository import BaseModelRepository
from service.database import Database
from service.endpoints import repository
from service.errors import Gone
from service.errors import NotFound
from service.errors import ServiceError
from service.errors import Unavailable
from service.inference.usage import Usage
from service.models.repository import ModelRepository
from service.tables import EndpointRow

STARTING_RETRY_S: Final = 30
"""A server takes from half a minute to load a model. The openai client waits for at most 60 s, and twice by itself."""
POLL_S: Final = 0.5
NOT_YET: Final = frozenset({"model_asleep", "model_starting"})
"""Codes of what waiting can help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes."""

    endpoint_id: str
    url: str
    """``http://host:port`` of its server."""


async def find_server(
    database: Database, usage: Usage, project: str, model_id: str, *, wait_s: float
) -> Route:
    """The server of a project's model; waits up to ``wait_s`` for one that starts. An endpoint that sleeps is woken.

    Raises:
        NotFound: there is no such model.
        Gone: it was deployed and is no more.
        Unavailable: it is not deployed (not to be retried), or its server is still starting.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return await run_sync(_look, database, usage, project, model_id)
        except Unavailable as error:
            left_s = deadline - time.monotonic()
            if error.code not in NOT_YET or left_s <= 0:
                raise
        await asyncio.sleep(min(POLL_S, left_s))


def _look(database: Database, usage: Usage, project: str, model_id: str) -> Route:
    with database.reading() as session:
        endpoint = _live(session, project, model_id)
    if endpoint.status == "asleep":
        return _wake(database, project, model_id)
    if endpoint.status == "ready" and not usage.is_noted(endpoint.id):
        with database.writing() as session:
            usage.note_first(session, endpoint.id)
            endpoint = _live(session, project, model_id)  # it may have fallen asleep in between
    return _route(model_id, endpoint)


def _wake(database: Database, project: str, model_id: str) -> Route:
    with database.writing() as session:
        endpoint = _live(session, project, model_id)
        woken = repository.wake(session, endpoint)
    if woken:
        raise _not_yet(model_id, endpoint, code="model_asleep")
    return _route(model_id, endpoint)


def _route(model_id: str, endpoint: EndpointRow) -> Route:
    if endpoint.status == "ready" and endpoint.url is not None:
        return Route(endpoint_id=endpoint.id, url=endpoint.url)
    raise _not_yet(
        model_id, endpoint, code="model_asleep" if endpoint.status == "asleep" else "model_starting"
    )


def _live(session: Session, project: str, model_id: str) -> EndpointRow:
    """The endpoint of a model, if it is to be served."""
    endpoint = repository.live(session, project, model_id)
    if endpoint is None or (endpoint.remove_requested and endpoint.status != "ready"):
        raise _not_deployed(session, project, model_id)
    return endpoint


def _not_yet(model_id: str, endpoint: EndpointRow, *, code: str) -> Unavailable:
    doing = "waits for its turn to start" if endpoint.status == "queued" else "is starting"
    if code == "model_asleep":
        doing = "was asleep and is being started"
    return Unavailable(
        f"The server of {model_id!r} {doing}; see /v1/endpoints/{endpoint.id}."
        " Send 'Prefer: wait=120' to wait for it.",
        code=code,
        param="model",
        retry_after_s=STARTING_RETRY_S,
    )


def _not_deployed(session: Session, project: str, model_id: str) -> ServiceError:
    if not _is_known(session, project, model_id):
        return NotFound(f"The model {model_id!r} does not exist.", code="model_not_found", param="model")
    said = f'The model {model_id!r} is not deployed: POST /v1/endpoints with {{"model": "{model_id}"}} first.'
    latest = repository.latest(session, project, model_id)
    if latest is not None:
        if latest.status == "failed":
            said += f" Its last endpoint {latest.id} failed: GET /v1/endpoints/{latest.id} says why."
        return Gone(said, code="model_not_deployed", param="model")
    return Unavailable(said, code="model_not_deployed", param="model", should_retry=False)


def _is_known(session: Session, project: str, model_id: str) -> bool:
    if ModelRepository(session, project).get(model_id) is not None:
        return True
    return BaseModelRepository(session, project).get(model_id) is not None
