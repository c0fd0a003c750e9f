"""Jobs of the service as Jobs of a cluster: real rows, store and reconciler, the real launcher, pods as processes.

The cluster is a fake; tests/kubernetes does the same on a real one.
"""

import shutil
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_settings import cluster_settings
from job_world import STAND_IN
from job_world import World
from job_world import stand_in
from job_world import world as calm_world
from starlette.testclient import TestClient

from deploy.contract import layout
from deploy.launch.kubernetes import KubernetesLauncher
from service.app import create_app
from service.context import Context
from service.reconcile.background import TRANSIENT
from tests.stand_ins.kubernetes_api import FakeCluster
from tests.stand_ins.kubernetes_machinery import Machinery

__all__ = ["calm_world", "stand_in"]
SLOW, REFUSES, BREAKS, COMMITS_AND_DIES = 7, 42, 52, 99
REPOSITORY = STAND_IN.parents[2]


@pytest.fixture
def context(make_context: Callable[..., Context]) -> Context:
    return make_context()


@pytest.fixture
def api(context: Context) -> Iterator[TestClient]:
    with TestClient(create_app(context), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def machinery(fake_cluster: FakeCluster, tmp_path: Path) -> Iterator[Machinery]:
    root = tmp_path / "pods"
    root.mkdir()
    # The pods of this cluster are processes of this machine: they reach the store without a broker.
    made = Machinery(fake_cluster, [sys.executable, str(STAND_IN)], root, without=("TEMPER_BROKER_URL",))
    made.start()
    yield made
    made.close()
    shutil.rmtree(root)


@pytest.fixture
def world(calm_world: World, fake_cluster: FakeCluster, machinery: Machinery) -> Iterator[World]:
    client = fake_cluster.client(timeout_s=2)
    settings = cluster_settings(environment={"PYTHONPATH": str(REPOSITORY)})
    launcher: Any = KubernetesLauncher(client, settings)
    calm_world.launcher = launcher
    calm_world.restart()
    yield calm_world
    launcher.close()
    client.close()


def until(world: World, condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Tick, as the reconciler does, until something is so."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, world.api.get("/v1/fine_tuning/jobs").json()
        try:
            world.reconciler.tick()
        except TRANSIENT:
            continue
        world.reconciler.settle()
        world.context.clock.time += 5.0  # type: ignore[attr-defined]
        time.sleep(0.02)


def over(world: World, job: str) -> dict[str, Any]:
    until(world, lambda: world.job(job)["status"] in {"succeeded", "failed", "cancelled"})
    return world.job(job)


def log_of(world: World, job: str) -> str:
    """Of the only pod, which is gone by now."""
    keys = [info.key for info in world.context.store.list(layout.job_prefix(job))]
    logs = [key for key in keys if key.endswith("/log.txt")]
    assert len(logs) == 1
    return world.context.store.get(logs[0]).decode()


def test_a_job_succeeds_and_nothing_of_it_is_left_but_its_log(
    world: World, fake_cluster: FakeCluster
) -> None:
    job = str(world.create()["id"])
    assert over(world, job)["status"] == "succeeded"
    until(world, lambda: not fake_cluster.all("jobs") and not fake_cluster.all("pods"))
    assert log_of(world, job) == "stand-in begins"


def test_e5_what_a_user_got_wrong_is_said_once(world: World, fake_cluster: FakeCluster) -> None:
    job = str(world.create(seed=REFUSES)["id"])
    assert over(world, job)["error"]["message"] == "scripted"
    until(world, lambda: not fake_cluster.all("jobs"))
    creations = [path for method, path in fake_cluster.requests if method == "POST"]
    assert len(creations) == 1


def test_e6_what_the_platform_got_wrong_is_tried_again_by_the_reconciler_alone(
    world: World, fake_cluster: FakeCluster
) -> None:
    job = str(world.create(seed=BREAKS)["id"])
    assert over(world, job)["error"]["code"] == "platform_error"
    creations = [path for method, path in fake_cluster.requests if method == "POST"]
    assert len(creations) == world.job(job)["hardening"]["attempt"] > 1
    until(world, lambda: not fake_cluster.all("jobs"))


def test_a_pod_that_dies_after_its_commit_has_succeeded(world: World) -> None:
    assert over(world, str(world.create(seed=COMMITS_AND_DIES)["id"]))["status"] == "succeeded"


def test_e4_a_drained_pod_costs_no_attempt(
    world: World, fake_cluster: FakeCluster, machinery: Machinery
) -> None:
    job = str(world.create(seed=SLOW)["id"])
    until(world, lambda: len(world.events(job)) > 3 and bool(fake_cluster.all("pods")))
    first = next(iter(fake_cluster.all("pods")))
    machinery.disrupt(first)
    until(world, lambda: first not in fake_cluster.all("pods") and bool(fake_cluster.all("pods")))
    assert world.job(job)["hardening"]["attempt"] == 1
    world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    until(world, lambda: not fake_cluster.all("jobs"))


def test_a_cancelled_job_frees_its_machine_and_leaves_its_log(
    world: World, fake_cluster: FakeCluster
) -> None:
    job = str(world.create(seed=SLOW)["id"])
    until(world, lambda: any(b"begins" in log for log in fake_cluster.logs.values()))
    until(world, lambda: world.job(job)["status"] == "running")
    world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    until(world, lambda: not fake_cluster.all("jobs") and not fake_cluster.all("pods"))
    assert world.job(job)["status"] == "cancelled"
    assert log_of(world, job) == "stand-in begins"


def test_a_job_deleted_by_hand_is_tried_again(world: World, fake_cluster: FakeCluster) -> None:
    job = str(world.create()["id"])
    until(world, lambda: bool(fake_cluster.all("jobs")))
    fake_cluster.delete(("batch/v1", "jobs", "temper-jobs"), next(iter(fake_cluster.all("jobs"))), {})
    assert over(world, job)["status"] == "succeeded"


def test_a_job_that_nobody_knows_is_swept_away(world: World, fake_cluster: FakeCluster) -> None:
    job = str(world.create(seed=SLOW)["id"])
    until(world, lambda: bool(fake_cluster.all("jobs")))
    mine = next(iter(fake_cluster.all("jobs").values()))
    orphan = {**mine, "metadata": {"name": "harden-nobodys-1", "labels": mine["metadata"]["labels"]}}
    fake_cluster.create(("batch/v1", "jobs", "temper-jobs"), {**orphan, "status": {}})
    until(world, lambda: set(fake_cluster.all("jobs")) == {layout.job_name(job, 1)})
    world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    until(world, lambda: not fake_cluster.all("jobs"))


@pytest.mark.slow  # the same faults, one by one, befall the launcher alone in tests/fault
@pytest.mark.parametrize("fault", ["gone", "cut", "lost answers", "errors"])
def test_an_api_server_that_misbehaves_makes_no_second_job(
    world: World, fake_cluster: FakeCluster, fault: str
) -> None:
    match fault:
        case "gone":
            fake_cluster.fail("WATCH", "jobs", status=410, times=3)
        case "cut":
            fake_cluster.cut("WATCH", "pods", times=3)
        case "lost answers":
            fake_cluster.lose_answer("POST", "jobs", times=1)
            fake_cluster.lose_answer("DELETE", "jobs", times=2)
        case _:
            for method, plural in (("POST", "jobs"), ("GET", "jobs"), ("GET", "pods"), ("DELETE", "jobs")):
                fake_cluster.fail(method, plural, status=500, times=2)
    job = str(world.create()["id"])
    assert over(world, job)["status"] == "succeeded"
    assert world.job(job)["hardening"]["attempt"] == 1
    until(world, lambda: not fake_cluster.all("jobs"))
