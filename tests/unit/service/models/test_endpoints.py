"""The models API, one process."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from service.context import Context
from service.tables import BaseModelRow
from service.tables import EndpointRow
from service.tables import FileRow
from service.tables import JobRow
from service.tables import ModelRow

ErrorOf = Callable[[httpx.Response, int], dict[str, Any]]
HARDENED = "jobs/ftjob-1/attempts/1/pod/models/hardened"
CONTROL = "jobs/ftjob-1/attempts/1/pod/models/control"


def model_row(context: Context, model_id: str, *, arm: str, prefix: str, created_at: int) -> ModelRow:
    return ModelRow(
        id=model_id,
        job_id="ftjob-1",
        base_model_id="base",
        arm=arm,
        uri=f"{context.store.uri}/{prefix}",
        files=[],
        architecture="decoder",
        parameters=5,
        created_at=created_at,
        deleted=False,
    )


@pytest.fixture
def finished_job(context: Context) -> None:
    with context.database.writing() as session:
        session.add(BaseModelRow(id="base", status="ready", source={}, files=[], created_at=1, version=0))
        session.add(BaseModelRow(id="half", status="pending", source={}, files=[], created_at=2, version=0))
        session.add(
            FileRow(id="file-1", filename="f", purpose="fine-tune", bytes=1, sha256="0", created_at=1)
        )
        session.flush()
        session.add(
            JobRow(
                id="ftjob-1",
                model="base",
                training_file="file-1",
                method={},
                hyperparameters={},
                hardening={},
                seed=0,
                status="succeeded",
                created_at=2,
            )
        )
        session.flush()
        session.add(model_row(context, "ft:base:temper::1", arm="hardened", prefix=HARDENED, created_at=3))
        session.add(model_row(context, "org/control", arm="control", prefix=CONTROL, created_at=3))
    for prefix in (HARDENED, CONTROL):
        context.store.put(f"{prefix}/model.safetensors", b"weights")
    context.store.put("jobs/ftjob-1/result.json", b"{}")


def keys(context: Context) -> set[str]:
    return {found.key for found in context.store.list("")}


@pytest.mark.usefixtures("finished_job")
def test_all_models_are_listed(api: TestClient) -> None:
    body = api.get("/v1/models").json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["org/control", "ft:base:temper::1", "base"]
    assert [model["hardening"]["arm"] for model in body["data"]] == ["control", "hardened", "base"]
    assert all(model["object"] == "model" and model["owned_by"] == "temper" for model in body["data"])


@pytest.mark.usefixtures("finished_job")
@pytest.mark.parametrize(
    "path", ["org/control", "org%2Fcontrol", "ft:base:temper::1", "ft%3Abase%3Atemper%3A%3A1"]
)
def test_an_id_may_hold_slashes_raw_and_escaped(api: TestClient, path: str) -> None:
    assert api.get(f"/v1/models/{path}").json()["hardening"]["job"] == "ftjob-1"


@pytest.mark.usefixtures("finished_job")
@pytest.mark.parametrize("path", ["none", "half", "org/none", "base/"])
def test_an_unknown_model_is_not_found(api: TestClient, error_of: ErrorOf, path: str) -> None:
    error = error_of(api.get(f"/v1/models/{path}"), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@pytest.mark.usefixtures("finished_job")
def test_deleting_takes_the_weights_of_that_arm_only(
    api: TestClient, context: Context, error_of: ErrorOf
) -> None:
    answer = api.delete("/v1/models/ft:base:temper::1")
    assert answer.json() == {"id": "ft:base:temper::1", "object": "model", "deleted": True}
    assert keys(context) == {f"{CONTROL}/model.safetensors", "jobs/ftjob-1/result.json"}
    error_of(api.get("/v1/models/ft:base:temper::1"), 404)
    error_of(api.delete("/v1/models/ft:base:temper::1"), 404)


@pytest.mark.usefixtures("finished_job")
def test_a_deployed_model_stays(api: TestClient, context: Context, error_of: ErrorOf) -> None:
    with context.database.writing() as session:
        session.add(
            EndpointRow(
                id="ep-1", model_id="org/control", active_model_id="org/control", status="ready", created_at=0
            )
        )
    response = api.delete("/v1/models/org/control")
    assert error_of(response, 409)["code"] == "model_deployed"
    assert response.headers["x-should-retry"] == "false"
    assert f"{CONTROL}/model.safetensors" in keys(context)


@pytest.mark.usefixtures("finished_job")
@pytest.mark.parametrize("uri", ["s3://elsewhere/jobs/x/models/y", "{root}", "{root}/files", "{root}/jobs/x"])
def test_weights_that_are_not_ours_are_never_deleted(
    api: TestClient, context: Context, error_of: ErrorOf, uri: str
) -> None:
    with context.database.writing() as session:
        row = session.get(ModelRow, "org/control")
        assert row is not None
        row.uri = uri.format(root=context.store.uri)
    before = keys(context)
    assert error_of(api.delete("/v1/models/org/control"), 409)["code"] == "foreign_weights"
    assert keys(context) == before


@pytest.mark.usefixtures("finished_job")
def test_a_base_model_is_deleted_as_one(api: TestClient, error_of: ErrorOf) -> None:
    assert api.delete("/v1/models/base").json() == {"id": "base", "object": "model", "deleted": True}
    error_of(api.get("/v1/base_models/base"), 404)
