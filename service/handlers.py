"""How exceptions become answers."""

import logging

from fastapi import FastAPI
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError
from sqlalchemy.exc import InterfaceError
from sqlalchemy.exc import InternalError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deploy.store.protocol import StoreFull
from deploy.store.protocol import StoreRefused
from deploy.store.protocol import StoreUnavailable
from service.errors import BadRequest
from service.errors import NotFound
from service.errors import ServiceError
from service.errors import StorageFull
from service.errors import Unavailable
from service.errors import problem_response
from service.try_again import lost
from service.try_again import mark_lost

logger = logging.getLogger(__name__)


def install_handlers(app: FastAPI) -> None:
    """Let every exception that a request may foreseeably raise answer as a problem."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(DataError, _unstorable)
    for unavailable in (OperationalError, InterfaceError, InternalError, PoolTimeoutError):
        app.add_exception_handler(unavailable, _database_down)
    app.add_exception_handler(StoreUnavailable, _store_down)
    app.add_exception_handler(StoreRefused, _store_refused)
    app.add_exception_handler(StoreFull, _store_full)


def _respond(request: Request, error: ServiceError) -> Response:
    request.state.error_code = error.code  # for the audit log
    return problem_response(error, instance=f"urn:temper:request:{request.state.request_id}")


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101 - registered for this class
    return _respond(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    # The first part says query, path or header; users know their parameters by name.
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    where = f"{param}: " if param else ""
    return _respond(request, BadRequest(f"{where}{first['msg']}.", param=param))


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 404:
        return _respond(request, NotFound("There is no such route.", code="unknown_route"))
    if error.status_code == 405:
        answer = _MethodNotAllowed("This route does not take this method.", headers=error.headers)
        return _respond(request, answer)
    return _respond(request, BadRequest(str(error.detail)))


class _MethodNotAllowed(ServiceError):  # noqa: N818
    """The route exists, the method does not."""

    status = 405
    type = "invalid_request_error"
    default_code = "method_not_allowed"


async def _unstorable(request: Request, error: Exception) -> Response:
    # PostgreSQL takes no NUL in a text and no integer beyond 64 bits.
    logger.info("value refused by the database", extra={"error": type(error).__name__})
    if "\0" in request.url.path or "%00" in request.url.path:
        return _respond(request, NotFound("There is no such thing."))
    return _respond(request, BadRequest("A value of the request cannot be stored.", code="invalid_value"))


async def _database_down(request: Request, error: Exception) -> Response:
    # Cut, not there, read-only, full, waited too long, deadlocked, or no connection is free.
    # Only the class: the message holds SQL and may hold values.
    if lost(error):
        mark_lost(request.scope)
    logger.error("database unavailable: %s", type(getattr(error, "orig", None) or error).__name__)
    return _respond(request, Unavailable("The database does not answer.", code="database_unavailable"))


async def _store_down(request: Request, error: Exception) -> Response:
    logger.error("object store unavailable: %s", error)
    return _respond(request, Unavailable("The object store does not answer.", code="store_unavailable"))


async def _store_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreRefused)  # noqa: S101
    logger.error("object store refuses: %s: %s", error.code, error)
    message = f"The object store refuses requests ({error.code}); its operator has to change something."
    return _respond(request, Unavailable(message, code="store_refused"))


async def _store_full(request: Request, error: Exception) -> Response:
    logger.error("object store full: %s", error)
    return _respond(request, StorageFull())
