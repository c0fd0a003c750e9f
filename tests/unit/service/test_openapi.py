"""The OpenAPI document says what the routes take and give."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from service.app import create_app
from service.auth import OPEN_ROUTES
from service.body import JsonBody
from service.context import Context
from service.work.ends import CODES

METHODS = {"get", "put", "post", "delete"}


@pytest.fixture
def document(api: TestClient) -> dict[str, Any]:
    response = api.get("/openapi.json")
    assert response.status_code == 200
    return dict(response.json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        assert set(methods) <= METHODS
        for method, operation in methods.items():
            yield method, path, operation


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return dict(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])


def test_every_route_is_described(document: dict[str, Any], context: Context) -> None:
    described = {(method.upper(), path) for method, path, _ in operations(document)}
    served = {
        (method, route.path_format)
        for route in create_app(context).routes
        if isinstance(route, APIRoute) and route.path != "/openapi.json"
        for method in route.methods
    }
    assert described == served
    assert len(served) > 25


def test_every_json_body_has_the_schema_that_checks_it(document: dict[str, Any], context: Context) -> None:
    seen = 0
    for route in create_app(context).routes:
        if not isinstance(route, APIRoute):
            continue
        models = [each.call.model for each in route.dependant.dependencies if isinstance(each.call, JsonBody)]
        for model in models:
            [method] = route.methods
            body = document["paths"][route.path_format][method.lower()]["requestBody"]
            assert body["required"] is True
            schema = resolve(document, body["content"]["application/json"]["schema"])
            assert schema["properties"].keys() == model.model_fields.keys()
            assert schema["additionalProperties"] is False
            seen += 1
    assert seen >= 10


def test_a_job_is_described_down_to_its_bounds(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/fine_tuning/jobs"]["post"]["requestBody"]["content"]["application/json"]
    job = resolve(document, body["schema"])
    assert set(job["required"]) == {"model", "training_file"}
    assert job["properties"]["seed"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    methods = {"dece", "supervised", "label_smoothing", "gce", "in_trust"}
    assert set(job["properties"]["method"]["anyOf"][0]["discriminator"]["mapping"]) == methods
    alpha = document["components"]["schemas"]["DeceHyperparameters"]["properties"]["alpha_base"]["anyOf"]
    assert {"type": "number", "exclusiveMinimum": 0.0, "maximum": 1.0} in alpha


def test_forms_and_raw_bodies_are_described(document: dict[str, Any]) -> None:
    for path, method, kind in (
        ("/v1/files", "post", "multipart/form-data"),
        ("/v1/uploads/{upload_id}/parts", "post", "multipart/form-data"),
        ("/v1/base_models/{base_model_id}/files/{name}", "put", "application/octet-stream"),
    ):
        body = document["paths"][path][method]["requestBody"]
        assert list(body["content"]) == [kind]
        assert body["required"] is True
    form = document["paths"]["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["required"]) == {"purpose", "file"}
    bodiless = [
        path for method, path, each in operations(document) if method == "get" and "requestBody" in each
    ]
    assert bodiless == []


def test_references_lead_somewhere_and_nothing_lies_about(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named == set(document["components"]["schemas"])
    assert "HTTPValidationError" not in text
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in named)


def test_every_error_has_the_one_form(document: dict[str, Any], api: TestClient) -> None:
    for _, _, operation in operations(document):
        assert set(operation["responses"]) == {"200", "default"}
        assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
    problem = document["components"]["schemas"]["Problem"]
    answer = api.get("/v1/files/none").json()
    assert answer.keys() == set(problem["required"]) == problem["properties"].keys()
    assert answer["error"].keys() == set(problem["properties"]["error"]["required"])


def test_the_key_is_asked_for_where_it_is_needed(document: dict[str, Any]) -> None:
    without = {path for _, path, operation in operations(document) if "security" not in operation}
    assert without == OPEN_ROUTES


def test_the_document_is_for_whoever_may_call(api: TestClient, context: Context) -> None:
    object.__setattr__(context.settings, "api_key", "correct-horse-battery")
    assert api.get("/openapi.json").status_code == 401
    headers = {"authorization": "Bearer correct-horse-battery"}
    assert api.get("/openapi.json", headers=headers).status_code == 200


def test_answers_that_are_not_json_say_so(document: dict[str, Any]) -> None:
    def kinds(path: str, method: str = "get") -> set[str]:
        return set(document["paths"][path][method]["responses"]["200"]["content"])

    assert kinds("/v1/files/{file_id}/content") == {"application/octet-stream"}
    assert kinds("/v1/reports/{job_id}") == {
        "application/json",
        "text/html",
        "application/jsonl",
        "application/sarif+json",
        "application/xml",
    }
    assert kinds("/v1/completions", "post") == {"application/json", "text/event-stream"}
    assert kinds("/v1/chat/completions", "post") == {"application/json", "text/event-stream"}
    assert kinds("/metrics") == {"text/plain"}


def test_why_jobs_and_scans_fail_is_described(document: dict[str, Any]) -> None:
    for name in ("JobView", "ScanView"):
        said = document["components"]["schemas"][name]["properties"]["error"]["description"]
        assert all(f"`{code}`" in said for code in CODES)


def test_what_a_job_may_ask_of_machines_is_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Resources"]["properties"]["nodes"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 64,
        "default": 1,
        "title": "Nodes",
    }
    assert schemas["Hardening"]["properties"]["queue"]["anyOf"][1] == {"type": "null"}
