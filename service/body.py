"""JSON bodies: bounded, strict, closed; the first mistake is named by its path.

Covers: size, depth, NaN and infinities, duplicate keys, unknown fields, wrong types (nothing is
coerced). Does not cover: multipart forms (:mod:`service.multipart`).
"""

import json
import math
from typing import Any
from typing import Final
from typing import Generic
from typing import NoReturn
from typing import TypeVar

from fastapi import Depends
from fastapi import Request
from pydantic import BaseModel
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect

from service.context import ContextDep
from service.errors import BadRequest
from service.errors import TooLarge
from service.errors import UnsupportedMedia

Model = TypeVar("Model", bound=BaseModel)
MAX_PARAM_CHARS: Final = 256


class JsonBody(Generic[Model]):
    """A dependency that reads a request's body as ``model``. Made by :func:`json_body`."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model

    async def __call__(self, request: Request, context: ContextDep) -> Model:
        """Read and validate.

        Raises:
            BadRequest: not JSON, or not of the model's form; ``param`` is the offending path.
            TooLarge: more bytes than the settings allow.
            UnsupportedMedia: the content type is not JSON.
        """
        # A web page can send other content types to a foreign origin without asking first.
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise UnsupportedMedia("Send the body as content-type application/json.")
        return parse_body(await _read(request, limit=context.settings.max_json_bytes), self.model)


def json_body(model: type[Model]) -> Any:
    """The dependency that makes an endpoint's argument the body.

    ::

        async def create(body: Annotated[CreateThing, json_body(CreateThing)]) -> Thing: ...
    """
    return Depends(JsonBody(model))


async def _read(request: Request, *, limit: int) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge(f"The body is larger than {limit} bytes.")
    except ClientDisconnect as error:
        raise BadRequest("The body was cut.") from error
    return bytes(body)


def parse_body(raw: bytes, model: type[Model]) -> Model:
    """Parse ``raw`` as ``model``. Raises BadRequest naming the first offending path."""
    document = _load(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise _first(error, document) from error


def _load(raw: bytes) -> Any:
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise BadRequest("The body is not UTF-8.", code="invalid_json") from error
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply.", code="invalid_json") from error
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}", code="invalid_json") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"the key {key[:64]!r} appears twice")
        document[key] = value
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:32]} is out of range")
    return value


def _first(error: ValidationError, document: Any) -> BadRequest:
    found = error.errors(include_url=False, include_input=False)
    first = found[0]
    absent = first["type"] in {"missing", "union_tag_not_found"}
    param = path_of(_loc(first), document, absent=absent)
    # A union reports one error for each of its members; together they say what is accepted.
    messages = [_said(one) for one in found if path_of(_loc(one), document, absent=absent) == param]
    where = f"{param}: " if param else ""
    return BadRequest(f"{where}{', or '.join(dict.fromkeys(messages))}.", param=param or None)


def _loc(error: ErrorDetails) -> tuple[int | str, ...]:
    # Pydantic stops at the union; the mistake is in the member that says which one is meant.
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return (*error["loc"], error["ctx"]["discriminator"].strip("'"))
    return error["loc"]


def _said(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "There is no such field"
        case "missing" | "union_tag_not_found":
            return "This field is required"
        case "union_tag_invalid":
            return f"It must be one of {error['ctx']['expected_tags']}"
    return error["msg"]


def path_of(loc: tuple[int | str, ...], document: Any, *, absent: bool) -> str:
    """The path that a user wrote, from pydantic's, which also names the members of unions.

    ``absent`` says that the last part is one that the user did not write and should have.
    """
    path: list[str] = []
    here = document
    for position, part in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(here, dict) and part in here:
            here = here[str(part)]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif not (absent and last and isinstance(here, dict)):
            continue
        path.append(str(part))
    return ".".join(path)[:MAX_PARAM_CHARS]
