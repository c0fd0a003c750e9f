"""What the API answers when it does not answer 2xx.

::

    ServiceError                 500
    ├── BadRequest               400
    ├── Unauthorized             401
    ├── Forbidden                403
    ├── NotFound                 404
    ├── RequestTimeout           408
    ├── Conflict                 409
    ├── Gone                     410
    ├── TooLarge                 413
    ├── UnsupportedMedia         415
    ├── TooMany                  429
    ├── BadGateway               502
    ├── Unavailable              503
    ├── GatewayTimeout           504
    └── StorageFull              507

``code`` is a stable API string. Every body is RFC 9457 problem+json with OpenAI's ``error`` object
inside, so that both kinds of client find what they look for.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from typing import ClassVar
from typing import Final

from starlette.responses import JSONResponse

PROBLEM_JSON: Final = "application/problem+json"
MAX_DETAIL_CHARS: Final = 4000


class ServiceError(Exception):
    """The service failed."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message[:MAX_DETAIL_CHARS]
        self.code = code or self.default_code
        self.param = param
        self.headers: dict[str, str] = dict(headers or {})


class BadRequest(ServiceError):  # noqa: N818 - the names of HTTP
    """The request itself is wrong; sending it again cannot help."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_request"


class Unauthorized(ServiceError):  # noqa: N818
    """No valid API key. The answer is the same for a missing and for a wrong one."""

    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__(
            "A valid API key is needed: send 'Authorization: Bearer <key>'.",
            headers={"www-authenticate": "Bearer"},
        )


class Forbidden(ServiceError):  # noqa: N818
    """The request is understood and refused."""

    status = 403
    type = "permission_error"
    default_code = "forbidden"


class NotFound(ServiceError):  # noqa: N818
    """There is no such thing."""

    status = 404
    type = "invalid_request_error"
    default_code = "not_found"


class RequestTimeout(ServiceError):  # noqa: N818
    """The client stopped sending."""

    status = 408
    type = "invalid_request_error"
    default_code = "request_timeout"


class Conflict(ServiceError):  # noqa: N818
    """The thing is in a state that does not allow this. Clients are told not to retry."""

    status = 409
    type = "invalid_request_error"
    default_code = "conflict"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        # Without this header the openai client sends a 409 two more times.
        super().__init__(message, code=code, param=param, headers={"x-should-retry": "false"})


class Gone(ServiceError):  # noqa: N818
    """The thing was there and will not come back."""

    status = 410
    type = "invalid_request_error"
    default_code = "gone"


class TooLarge(ServiceError):  # noqa: N818
    """The body is larger than allowed."""

    status = 413
    type = "invalid_request_error"
    default_code = "too_large"


class UnsupportedMedia(ServiceError):  # noqa: N818
    """The body is of a type that this route does not take."""

    status = 415
    type = "invalid_request_error"
    default_code = "unsupported_media_type"


class TooMany(ServiceError):  # noqa: N818
    """A limit on requests or on things held at once is reached."""

    status = 429
    type = "rate_limit_error"
    default_code = "too_many_requests"


class BadGateway(ServiceError):  # noqa: N818
    """The model server answered something unusable."""

    status = 502
    default_code = "bad_gateway"


class Unavailable(ServiceError):  # noqa: N818
    """Something that the request needs does not answer for now; the same request may work later."""

    status = 503
    default_code = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int = 1,
        should_retry: bool = True,
    ) -> None:
        headers = {"retry-after": str(retry_after_s)}
        if not should_retry:
            headers["x-should-retry"] = "false"
        super().__init__(message, code=code, param=param, headers=headers)


class GatewayTimeout(ServiceError):  # noqa: N818
    """The model server did not answer in time."""

    status = 504
    default_code = "gateway_timeout"


class StorageFull(ServiceError):  # noqa: N818
    """There is no room left in the object store."""

    status = 507
    default_code = "storage_full"

    def __init__(self) -> None:
        super().__init__("The object store is full.", headers={"x-should-retry": "false"})


def problem(error: ServiceError, *, instance: str | None = None) -> dict[str, Any]:
    """The body of an error: an RFC 9457 problem with OpenAI's ``error`` as an extension member."""
    return {
        "type": f"urn:temper:problem:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
        "instance": instance,
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        },
    }


def problem_response(error: ServiceError, *, instance: str | None = None) -> JSONResponse:
    """The whole response for an error."""
    return JSONResponse(
        problem(error, instance=instance),
        status_code=error.status,
        headers=error.headers,
        media_type=PROBLEM_JSON,
    )
