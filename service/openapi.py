"""The OpenAPI document. FastAPI writes it from the routes; what it cannot see is added here.

It cannot see: JSON bodies, which :func:`service.body.json_body` reads; the one form of every error;
the key. Forms and raw bodies say what they are in their route's ``openapi_extra``.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any
from typing import Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import JSONResponse

from service.auth import Authenticated
from service.auth import authenticate
from service.body import JsonBody
from service.errors import PROBLEM_JSON

COMPONENTS: Final = "#/components/schemas/"
_NULLABLE_TEXT: Final = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_PROBLEM: Final = {
    "type": "object",
    "description": "An RFC 9457 problem with OpenAI's error object inside.",
    "required": ["type", "title", "status", "detail", "instance", "error"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": _NULLABLE_TEXT,
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": _NULLABLE_TEXT,
                "code": {"type": "string"},
            },
        },
    },
}
_ANY_ERROR: Final = {
    "description": "What went wrong.",
    "content": {PROBLEM_JSON: {"schema": {"$ref": f"{COMPONENTS}Problem"}}},
}


def publish_document(app: FastAPI) -> None:
    """Serve the document at ``/openapi.json``, to whoever may call the rest."""

    @cache
    def document() -> dict[str, Any]:
        return describe(app)

    @app.get("/openapi.json", include_in_schema=False, dependencies=[Authenticated])
    def openapi() -> JSONResponse:
        return JSONResponse(document())


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of an app, complete."""
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    # Its own form of a validation error never leaves this service.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    bodies: dict[str, type[BaseModel]] = {}
    for route, operation in _operations(app, document):
        _describe_errors(operation)
        if authenticate in _calls(route.dependant):
            # An empty alternative: a service for this machine only may have no key.
            operation["security"] = [{"key": []}, {}]
        body = _body(route)
        if body is not None:
            bodies[body.__name__] = body
            operation["requestBody"] = _json({"$ref": COMPONENTS + body.__name__})
    _add_bodies(document, list(bodies.values()))
    return document


def _operations(app: FastAPI, document: dict[str, Any]) -> Iterator[tuple[APIRoute, dict[str, Any]]]:
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods:
                yield route, document["paths"][route.path_format][method.lower()]


def _calls(dependant: Dependant) -> Iterator[Any]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def _body(route: APIRoute) -> type[BaseModel] | None:
    return next((call.model for call in _calls(route.dependant) if isinstance(call, JsonBody)), None)


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _describe_errors(operation: dict[str, Any]) -> None:
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = _ANY_ERROR


def _add_bodies(document: dict[str, Any], models: list[type[BaseModel]]) -> None:
    """Add the schemas of bodies; one that has a namesake of another form among the answers is renamed."""
    schemas = document["components"]["schemas"]
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template=COMPONENTS + "{model}"
    )
    text = json.dumps(found.get("$defs", {}))
    taken = [name for name, schema in json.loads(text).items() if schemas.get(name, schema) != schema]
    for name in taken:
        text = text.replace(f'"{COMPONENTS}{name}"', f'"{COMPONENTS}{name}-Input"')
    for name, schema in json.loads(text).items():
        schemas[f"{name}-Input" if name in taken else name] = schema
    for operations in document["paths"].values():
        for operation in operations.values():
            _rename(operation.get("requestBody"), taken)


def _rename(body: dict[str, Any] | None, taken: list[str]) -> None:
    schema = (body or {}).get("content", {}).get("application/json", {}).get("schema", {})
    if schema.get("$ref", "").removeprefix(COMPONENTS) in taken:
        schema["$ref"] += "-Input"
