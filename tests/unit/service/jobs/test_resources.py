"""What a job may ask of the machines, and who refuses what this installation has not got."""

from collections.abc import Callable
from typing import Any

import pytest

from deploy.contract.layout import job_name
from deploy.contract.resources import Resources
from deploy.kubernetes.settings import ClusterSettings
from service.errors import BadRequest
from service.jobs.resources import check_resources
from service.tables import JobRow


def cluster(*, queue: str | None = None, queues: list[str] | None = None, **job: object) -> ClusterSettings:
    return ClusterSettings.model_validate(
        {
            "release": "temper",
            "broker_url": "http://broker:8002",
            "jobs": {
                "namespace": "jobs",
                "service_account": "job",
                "image": "trainer",
                "queue": queue,
                "queues": queues or [],
                "job": job,
            },
            "endpoints": {
                "namespace": "endpoints",
                "service_account": "endpoint",
                "image": "vllm",
                "fetch_image": "api",
            },
        }
    )


def refusal(asked: dict[str, Any], queue: str | None, of: ClusterSettings | None) -> tuple[str, str | None]:
    with pytest.raises(BadRequest) as refused:
        check_resources(Resources(**asked), queue, of)
    assert refused.value.param is not None
    assert str(refused.value).startswith(refused.value.param)
    return refused.value.code, refused.value.param


@pytest.mark.parametrize(
    ("asked", "settings", "param"),
    [
        ({"gpus": 9}, {}, "gpus"),
        ({"gpus": 4, "nodes": 3}, {}, "gpus"),
        ({"nodes": 9}, {}, "nodes"),
        ({"nodes": 2}, {"gpus": 0}, "nodes"),
        ({"gpus": 1}, {"max_gpus": 0, "gpus": 0}, "gpus"),
        ({"gpus": 0, "gpu_type": "H100"}, {}, "gpu_type"),
    ],
)
def test_what_no_machine_can_give_is_refused_by_its_path(
    asked: dict[str, Any], settings: dict[str, Any], param: str
) -> None:
    said = refusal(asked, None, cluster(**settings))
    assert said == ("resources_not_allowed", f"hardening.resources.{param}")


@pytest.mark.parametrize(
    "asked", [{}, {"gpus": 8}, {"gpus": 4, "nodes": 2}, {"gpus": 0}, {"memory_gib": 8000, "cpus": 512}]
)
def test_what_the_operator_allows_is_accepted(asked: dict[str, Any]) -> None:
    check_resources(Resources(**asked), None, cluster())


def test_only_queues_that_the_operator_offers_can_be_named() -> None:
    offered = cluster(queue="normal", queues=["urgent"])
    for queue in ("normal", "urgent", None):
        check_resources(Resources(), queue, offered)
    assert refusal({}, "night", offered) == ("queue_not_found", "hardening.queue")
    assert refusal({}, "normal", cluster()) == ("queue_not_found", "hardening.queue")


def test_a_machine_of_ones_own_is_taken_as_it_is(world: Any, error_of: Callable[..., dict[str, Any]]) -> None:
    check_resources(Resources(), None, None)
    file = world.upload()
    for hardening, param in (
        ({"resources": {"gpus": 2}}, "hardening.resources"),
        ({"queue": "normal"}, "hardening.queue"),
        ({"resources": {"gpus": 17}}, "hardening.resources.gpus"),
        ({"resources": {"nodes": 2, "gpus": 0}}, "hardening.resources"),
        ({"resources": {"tpus": 1}}, "hardening.resources.tpus"),
        ({"queue": "Not A Queue"}, "hardening.queue"),
    ):
        body = {"model": "tiny", "training_file": file, "hardening": hardening}
        error = error_of(world.api.post("/v1/fine_tuning/jobs", json=body), 400)
        assert error["param"] == param, error
    world.create(hardening={"resources": {}, "queue": None})


def test_a_run_gets_what_its_job_asked_for_and_the_job_shows_it(world: Any) -> None:
    asked: dict[str, Any] = {"gpus": 4, "nodes": 2, "gpu_type": "H100", "cpus": None, "memory_gib": 64}
    job = world.create()["id"]
    with world.context.database.writing() as session:
        row = session.get(JobRow, job)
        row.hardening = {**row.hardening, "resources": asked, "queue": "urgent"}
    world.settle(until="running", job_id=job)
    order = world.launcher.orders[job_name(job, 1)]
    assert (order.resources, order.queue) == (Resources(**asked), "urgent")
    shown = world.job(job)["hardening"]
    assert (shown["resources"], shown["queue"]) == (asked, "urgent")


def test_a_row_of_an_older_version_asks_for_nothing(world: Any) -> None:
    job = world.create()["id"]
    with world.context.database.writing() as session:
        row = session.get(JobRow, job)
        row.hardening = {name: row.hardening[name] for name in row.hardening.keys() - {"resources", "queue"}}
    world.settle(until="running", job_id=job)
    order = world.launcher.orders[job_name(job, 1)]
    assert (order.resources, order.queue) == (Resources(), None)


def test_a_cluster_takes_the_wishes_that_it_can_fulfil(
    world: Any, error_of: Callable[..., dict[str, Any]]
) -> None:
    object.__setattr__(world.context.settings, "cluster", cluster(queue="normal"))
    asked = {"gpus": 8, "nodes": 1, "gpu_type": None, "cpus": None, "memory_gib": None}
    created = world.create(hardening={"resources": {"gpus": 8}, "queue": "normal"})
    assert created["hardening"]["resources"] == asked
    body = {
        "model": "tiny",
        "training_file": world.upload(),
        "hardening": {"resources": {"gpus": 8, "nodes": 2}},
    }
    error = error_of(world.api.post("/v1/fine_tuning/jobs", json=body), 400)
    assert (error["code"], error["param"]) == ("resources_not_allowed", "hardening.resources.gpus")
    assert "16 GPUs in all are more than the 8" in error["message"]
