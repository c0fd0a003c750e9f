"""Who may call. Authorisation is a dependency of the route and reads nothing but headers.

Covers: the bearer key; without a key (loopback only), pages of a browser on the same machine: a
foreign Origin or a Host that is not loopback (DNS rebinding) is refused. Does not cover: tenants,
rate limits, transport encryption (a proxy's work).
"""

import hmac
from typing import Final
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi import Request

from service.context import ContextDep
from service.errors import Forbidden
from service.errors import Unauthorized
from service.settings import is_loopback

OPEN_ROUTES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""The only routes without :data:`Authenticated`; a test enumerates the app's routes."""


def authenticate(request: Request, context: ContextDep) -> None:
    """Let a request with the service's key pass.

    Raises:
        Unauthorized: the key is missing or wrong.
        Forbidden: no key is set and the request was made by a foreign web page.
    """
    key = context.settings.api_key
    if key is None:
        _refuse_foreign_pages(request)
        return
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    # Encoded as Starlette decoded it; compare_digest refuses text that is not ASCII.
    right = hmac.compare_digest(presented.strip().encode("latin-1"), key.encode("ascii"))
    if scheme.lower() != "bearer" or not right:
        raise Unauthorized()


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


Authenticated = Depends(authenticate)
"""In the ``dependencies`` of every router but health's."""
