"""JSON bodies from strangers."""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from starlette.testclient import TestClient

from deploy.contract.method import Method
from service.body import parse_body
from service.errors import BadRequest

ErrorOf = Callable[[httpx.Response, int], dict[str, Any]]


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1)]
    count: Annotated[int, Field(ge=1)] | None = None
    rate: float | None = None
    free: dict[str, Any] | None = None
    items: list[int] | None = None
    method: Method | None = None


def refusal(raw: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        parse_body(raw, Thing)
    return raised.value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"name": "a", "free": {"x": NaN}}',
        b'{"name": "a", "free": {"x": -Infinity}}',
        b'{"name": "a", "rate": 1e999}',
        b'{"name": "a", "name": "b"}',
        b'{"name": "a", "free": {"x": 1, "x": 2}}',
        b'{"name": "a", "count": ' + b"9" * 5_000_000 + b"}",
        b"{'name': 'a'}",
        b'{"name": "a\x00b"}',
    ],
    ids=range(14),
)
def test_a6_what_is_not_json_is_refused(raw: bytes) -> None:
    error = refusal(raw)
    assert (error.status, error.code) == (400, "invalid_json")
    assert len(error.message) < 500


def test_a6_a_lone_surrogate_is_refused() -> None:
    refusal(b'{"name": "\\ud800"}')


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"{}", "name"),
        (b"[]", None),
        (b"null", None),
        (b'{"name": ""}', "name"),
        (b'{"name": 1}', "name"),
        (b'{"name": "a", "count": "1"}', "count"),
        (b'{"name": "a", "count": true}', "count"),
        (b'{"name": "a", "count": 1.0}', "count"),
        (b'{"name": "a", "items": [1, 2, "3"]}', "items.2"),
        (b'{"name": "a", "colour": 1}', "colour"),
        (b'{"name": "a", "method": {"type": "ppo"}}', "method.type"),
        (b'{"name": "a", "method": {"type": 1}}', "method.type"),
        (b'{"name": "a", "method": {}}', "method.type"),
        (b'{"name": "a", "method": "dece"}', "method"),
        (b'{"name": "a", "method": {"type": "dece", "supervised": {}}}', "method.supervised"),
        (
            b'{"name": "a", "method": {"type": "dece", "dece": {"hyperparameters": {"alpha_base": 0}}}}',
            "method.dece.hyperparameters.alpha_base",
        ),
        (
            b'{"name": "a", "method": {"type": "dece", "dece": {"hyperparameters": {"n_epochs": "many"}}}}',
            "method.dece.hyperparameters.n_epochs",
        ),
        (
            b'{"name": "a", "method": {"type": "dece", "dece": {"hyperparameters": {"colour": 1}}}}',
            "method.dece.hyperparameters.colour",
        ),
    ],
)
def test_a7_the_first_mistake_is_named_by_its_path(raw: bytes, param: str | None) -> None:
    error = refusal(raw)
    assert (error.param, error.code) == (param, "invalid_request")
    assert param is None or error.message.startswith(f"{param}: ")


def test_a_union_says_all_that_it_takes() -> None:
    message = refusal(
        b'{"name": "a", "method": {"type": "dece", "dece": {"hyperparameters": {"n_epochs": 51}}}}'
    ).message
    assert "50" in message
    assert "auto" in message


@given(st.binary(max_size=200))
def test_a6_no_bytes_do_anything_but_parse_or_be_refused(raw: bytes) -> None:
    with suppress(BadRequest):
        assert isinstance(parse_body(raw, Thing), Thing)


def test_a_long_body_is_cut(api: TestClient, error_of: ErrorOf) -> None:
    body = b'{"filename": "' + b"x" * (1 << 20) + b'"}'
    response = api.post("/v1/uploads", content=body, headers={"content-type": "application/json"})
    assert error_of(response, 413)["code"] == "too_large"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
def test_only_json_is_taken(api: TestClient, error_of: ErrorOf, kind: str) -> None:
    response = api.post("/v1/uploads", content=b"{}", headers={"content-type": kind})
    assert error_of(response, 415)["code"] == "unsupported_media_type"
