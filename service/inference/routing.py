"""From a model's id to the server that answers for it."""

from sqlalchemy.orm import Session

from service.endpoints import repository
from service.errors import NotFound
from service.errors import Unavailable
from service.tables import BaseModelRow
from service.tables import ModelRow

STARTING_RETRY_S = 5
"""A server takes tens of seconds to load a model; clients give up after a few tries of their own."""


def find_server(session: Session, model_id: str) -> str:
    """``http://host:port`` of the server of a model.

    Raises:
        NotFound: there is no such model.
        Unavailable: it is not deployed (not to be retried), or its server is still starting.
    """
    endpoint = repository.live(session, model_id)
    if endpoint is not None and endpoint.status == "ready" and endpoint.url is not None:
        return endpoint.url
    if endpoint is not None and not endpoint.remove_requested:
        raise Unavailable(
            f"The server of {model_id!r} is starting; see /v1/endpoints/{endpoint.id}.",
            code="model_starting",
            retry_after_s=STARTING_RETRY_S,
        )
    if not _is_known(session, model_id):
        raise NotFound(f"The model {model_id!r} does not exist.", code="model_not_found", param="model")
    said = f'The model {model_id!r} is not deployed: POST /v1/endpoints with {{"model": "{model_id}"}} first.'
    latest = repository.latest(session, model_id)
    if latest is not None and latest.status == "failed":
        said += f" Its last endpoint {latest.id} failed: GET /v1/endpoints/{latest.id} says why."
    raise Unavailable(said, code="model_not_deployed", param="model", should_retry=False)


def _is_known(session: Session, model_id: str) -> bool:
    model = session.get(ModelRow, model_id)
    if model is not None and not model.deleted:
        return True
    return session.get(BaseModelRow, model_id) is not None
