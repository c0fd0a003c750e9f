"""Who may call. Authorisation is a dependency of the route and reads nothing but headers.

Covers: the operator's key, which may do everything and act for any project; keys of projects, with their scopes;
without a key (loopback only), pages of a browser on the same machine: a foreign Origin or a Host that is not loopback
(DNS rebinding) is refused. Does not cover: rate limits (:mod:`service.limits`), transport encryption (a proxy's work).
"""

import hmac
from collections.abc import Callable
from typing import Annotated
from typing import Any
from typing import Final
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi import Request

from deploy.contract.layout import DEFAULT_PROJECT
from service.context import Context
from service.context import ContextDep
from service.errors import Forbidden
from service.errors import ServiceError
from service.errors import Unauthorized
from service.projects.lookup import find_principal
from service.projects.lookup import is_open_project
from service.projects.principal import Principal
from service.projects.principal import Scope
from service.projects.principal import operator_of
from service.projects.secret import PREFIX
from service.projects.secret import parse_secret
from service.settings import is_loopback

OPEN_ROUTES: Final = frozenset({"/healthz", "/readyz", "/metrics", "/.well-known/temper-signing-keys"})
"""The only routes without :func:`requires`; a test enumerates the app's routes."""
PROJECT_HEADER: Final = "openai-project"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class ProjectMismatch(ServiceError):  # noqa: N818 - the names of HTTP
    """The header names a project that the key cannot act for. The same for a foreign and for a missing one."""

    status = 401
    type = "invalid_request_error"
    default_code = "mismatched_project"


def authenticate(request: Request, context: ContextDep) -> Principal:
    """Who calls, and for which project.

    Raises:
        Unauthorized: the key is missing, wrong, expired or revoked.
        ProjectMismatch: the header OpenAI-Project names a project that it cannot act for.
        Forbidden: no key is set and the request was made by a foreign web page.
    """
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    presented = presented.strip() if scheme.lower() == "bearer" else ""
    named = request.headers.get(PROJECT_HEADER) or None
    if _is_operator(request, context, presented):
        return operator_of(_checked_project(context, named))
    principal = find_principal(context.database, context.known_keys, parse_secret(presented))
    if principal is None:
        raise Unauthorized()
    if named not in {None, principal.project}:
        raise _mismatch()
    return principal


def _is_operator(request: Request, context: Context, presented: str) -> bool:
    key = context.settings.api_key
    if key is None:
        _refuse_foreign_pages(request)
        # Clients of OpenAI always send some key. One of ours has to be good, and says whose request it is.
        return not presented.startswith(PREFIX)
    # Encoded as Starlette decoded it; compare_digest refuses text that is not ASCII.
    return hmac.compare_digest(presented.encode("latin-1"), key.encode("ascii"))


def _checked_project(context: Context, named: str | None) -> str:
    if named is None or named == DEFAULT_PROJECT:
        return DEFAULT_PROJECT
    with context.database.reading() as session:
        if not is_open_project(session, named):
            raise _mismatch()
    return named


def _mismatch() -> ProjectMismatch:
    return ProjectMismatch("OpenAI-Project has to name the project that the API key belongs to.")


Caller = Annotated[Principal, Depends(authenticate)]
"""Who calls; a route that takes it is authenticated."""
Authenticated = Depends(authenticate)
"""In the ``dependencies`` of every router but health's."""


class ScopeCheck:
    """A dependency that lets those with a scope pass; whatever only reads needs ``reading`` instead."""

    def __init__(self, scope: Scope, reading: Scope) -> None:
        self.scope = scope
        self.reading = reading

    def __call__(self, request: Request, caller: Caller) -> None:
        """Raises Forbidden, before anything is looked at."""
        scope = self.reading if request.method in READING else self.scope
        if not caller.may(scope):
            raise Forbidden(f"This API key does not have the scope {scope!r}.", code="missing_scope")


def requires(scope: Scope, *, reading: Scope = "read") -> Any:
    """For the ``dependencies`` of a router or a route: the scope that changing something needs, and that reading needs."""
    check: Callable[..., None] = ScopeCheck(scope, reading)
    return Depends(check)


def _refuse_foreign_pages(request: Request) -> None:
    origin = request.headers.get("origin")
    addresses = [f"//{request.headers.get('host', '')}"] + ([origin] if origin is not None else [])
    for address in addresses:
        if not _names_this_machine(address):
            raise Forbidden(
                "Without an API key this service only answers programs that address it as localhost;"
                " set TEMPER_API_KEY to call it under other names.",
                code="foreign_origin",
            )


def _names_this_machine(address: str) -> bool:
    try:
        return is_loopback(urlsplit(address).hostname or "")
    except ValueError:
        return False
