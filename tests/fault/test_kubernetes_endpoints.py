"""Endpoints of a cluster that misbehaves in one way after another, and updates under requests that go on."""

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_settings import cluster_settings
from least_model import least_model
from least_model import put_files

from deploy.contract import layout
from deploy.endpoint.kubernetes import KubernetesEndpoints
from deploy.endpoint.protocol import EndpointError
from deploy.endpoint.protocol import EndpointRefused
from deploy.endpoint.protocol import Serve
from deploy.endpoint.protocol import ServePhase
from deploy.endpoint.protocol import Server
from deploy.store.directory import DirStore
from deploy.store.opening import open_store
from tests.stand_ins.kubernetes_api import FakeCluster
from tests.stand_ins.serving_machinery import ServingMachinery

STAND_IN = Path(__file__).parents[1] / "stand_ins" / "vllm.py"
NAME = "ep-a1"
PLURALS = ("deployments", "services", "poddisruptionbudgets", "horizontalpodautoscalers")


@dataclass
class Bench:
    """A fake cluster with its machinery, a store, and backends over both."""

    cluster: FakeCluster
    machinery: ServingMachinery
    store: DirStore
    made: list[KubernetesEndpoints] = field(default_factory=list)

    def build(self, **endpoints: Any) -> KubernetesEndpoints:
        plain = cluster_settings()
        url = f"http://127.0.0.1:{self.machinery.port_of(NAME)}"
        changed = {"url": url, "gpus": 0, "start_timeout_s": 60, **endpoints}
        settings = plain.model_copy(update={"endpoints": plain.endpoints.model_copy(update=changed)})
        self.made.append(KubernetesEndpoints(self.cluster.client(timeout_s=2.0), settings, self.store))
        return self.made[-1]

    def order(self, **changes: Any) -> Serve:
        files = put_files(self.store, "models/m", least_model())
        uri = f"{self.store.uri}/models/m/"
        return replace(Serve(name=NAME, model_id="ft:m", weights_uri=uri, files=files), **changes)

    def names(self) -> dict[str, list[str]]:
        return {plural: sorted(self.cluster.all(plural)) for plural in PLURALS}


@pytest.fixture
def bench(fake_cluster: FakeCluster, tmp_path: Path) -> Iterator[Bench]:
    store = open_store((tmp_path / "store").as_uri())
    assert isinstance(store, DirStore)
    server = [sys.executable, "-S", str(STAND_IN), "serve"]
    machinery = ServingMachinery(fake_cluster, server, tmp_path / "pods")
    machinery.start()
    bench = Bench(fake_cluster, machinery, store)
    yield bench
    for backend in bench.made:
        backend.close()
    machinery.close()


def wait_for(backend: KubernetesEndpoints, wanted: Any, *, seconds: float = 90) -> Server:
    """Until what is seen of the endpoint is wanted."""
    limit = time.monotonic() + seconds
    server = None
    while server is None or not wanted(server):
        assert time.monotonic() < limit, server
        time.sleep(0.05)
        server = backend.observe().get(NAME)
    return server


def ready(count: int = 1) -> Any:
    return lambda server: server.phase is ServePhase.READY and server.ready_replicas == count


def ask(port: int, prompt: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = json.dumps({"model": "ft:m", "prompt": prompt})
        connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        assert response.status == 200, data
        return str(json.loads(data)["id"])
    finally:
        connection.close()


@contextmanager
def requests_that_go_on(port: int) -> Iterator[set[str]]:
    """Which servers answered; fails when one request did."""
    answered: set[str] = set()
    failures: list[BaseException] = []
    over = threading.Event()

    def keep_asking(prompt: str) -> None:
        while not over.is_set():
            try:
                answered.add(ask(port, prompt))
            except (AssertionError, OSError, http.client.HTTPException) as error:
                failures.append(error)

    threads = [threading.Thread(target=keep_asking, args=(prompt,)) for prompt in ("x", "slow", "very slow")]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_new_image_rolls_out_without_a_failed_request(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order())
    wait_for(backend, ready())
    with requests_that_go_on(bench.machinery.port_of(NAME)) as answered:
        time.sleep(0.5)
        [before] = answered
        upgraded = bench.build(image="vllm@sha256:" + "9" * 64)  # the operator's file has changed
        seen = wait_for(upgraded, ready())
        assert not seen.current
        upgraded.serve(bench.order())
        assert upgraded.observe()[NAME].current
        limit = time.monotonic() + 60
        while len(bench.machinery.pods) > 1 or before in {ask(bench.machinery.port_of(NAME), "x")}:
            assert time.monotonic() < limit
            assert upgraded.observe()[NAME].phase is ServePhase.READY, "there is no gap"
            time.sleep(0.1)
    assert len(answered) == 2


def test_other_replicas_come_and_go_without_a_failed_request(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order())
    assert wait_for(backend, ready()).replicas == (1, 1)
    with requests_that_go_on(bench.machinery.port_of(NAME)) as answered:
        backend.serve(bench.order(replicas=2, max_replicas=2))
        assert wait_for(backend, ready(2)).replicas == (2, 2)
        while len(answered) < 2:
            time.sleep(0.05)
        backend.serve(bench.order())
        assert wait_for(backend, ready(1)).current
        assert bench.names()["poddisruptionbudgets"] == []
        time.sleep(1.0)
    assert len(answered) == 2, "the first went on, and requests were spread"


@pytest.mark.slow
def test_the_autoscaler_decides_within_the_orders_bounds(bench: Bench) -> None:
    backend = bench.build(autoscaler="hpa")
    backend.serve(bench.order(replicas=1, max_replicas=3))
    assert wait_for(backend, ready()).current
    bench.cluster.update("deployments", NAME, lambda found: found["spec"].update(replicas=2))
    wait_for(backend, ready(2))
    backend.serve(bench.order(replicas=1, max_replicas=4))
    assert bench.cluster.all("deployments")[NAME]["spec"]["replicas"] == 2
    assert bench.cluster.all("horizontalpodautoscalers")[NAME]["spec"]["maxReplicas"] == 4
    backend.serve(bench.order())
    assert bench.cluster.all("deployments")[NAME]["spec"]["replicas"] == 1
    assert bench.names()["horizontalpodautoscalers"] == []


@pytest.mark.slow
def test_scaled_to_nothing_by_hand_it_is_scaled_back(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order())
    wait_for(backend, ready())
    bench.cluster.update("deployments", NAME, lambda found: found["spec"].update(replicas=0))
    assert wait_for(backend, lambda server: server.phase is ServePhase.STARTING).current is False
    backend.serve(bench.order())
    wait_for(backend, ready())


@pytest.mark.parametrize("plural", ["deployments", "services", "poddisruptionbudgets"])
def test_what_was_deleted_by_hand_is_made_again(bench: Bench, plural: str) -> None:
    backend = bench.build()
    order = bench.order(replicas=2, max_replicas=2)
    backend.serve(order)
    wait_for(backend, ready(2))
    bench.cluster.expunge(plural, NAME)
    seen = wait_for(backend, lambda server: not server.current)
    assert seen.phase is (ServePhase.READY if plural == "poddisruptionbudgets" else ServePhase.STARTING)
    backend.serve(order)
    assert wait_for(backend, ready(2)).current
    ask(bench.machinery.port_of(NAME), "x")


def test_what_is_left_of_a_removal_is_seen_and_removed(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order(replicas=2, max_replicas=2))
    key = layout.endpoint_order_key(NAME)
    assert bench.store.info(key) is not None
    bench.cluster.fail("DELETE", "deployments", status=500)
    with pytest.raises(EndpointError):
        backend.remove(NAME)
    again = bench.build()  # the reconciler died as well
    assert NAME in again.observe()
    again.remove(NAME)
    assert all(names == [] for names in bench.names().values())
    assert bench.store.info(key) is None
    limit = time.monotonic() + 10
    while again.observe():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.parametrize("plural", ["deployments", "services"])
@pytest.mark.parametrize("fault", ["500", "429", "409", "cut", "lose_answer"])
def test_serve_can_be_asked_again_after_any_fault(bench: Bench, plural: str, fault: str) -> None:
    backend = bench.build()
    if fault.isdecimal():
        bench.cluster.fail("POST", plural, status=int(fault))
    elif fault == "cut":
        bench.cluster.cut("POST", plural)
    else:
        bench.cluster.lose_answer("POST", plural)
    with pytest.raises(EndpointError) as raised:
        backend.serve(bench.order())
    assert not isinstance(raised.value, EndpointRefused), "nothing is known: it is not the order's fault"
    backend.serve(bench.order())
    assert backend.observe()[NAME].current
    assert (bench.names()["deployments"], bench.names()["services"]) == ([NAME], [NAME])


def test_a_partition_is_no_news(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order())
    wait_for(backend, ready())
    with bench.cluster.partition():
        with pytest.raises(EndpointError):
            backend.serve(bench.order())
        assert backend.observe()[NAME].phase is ServePhase.READY, "what was seen a moment ago"
        ask(bench.machinery.port_of(NAME), "x")
    backend.serve(bench.order())
    assert wait_for(backend, ready()).current


def test_an_object_of_somebody_else_is_left_alone(bench: Bench) -> None:
    foreign = {"metadata": {"name": NAME, "labels": {"app": "theirs"}}, "spec": {"replicas": 1}}
    bench.cluster.create(("v1", "services", "temper-endpoints"), foreign)
    backend = bench.build()
    with pytest.raises(EndpointRefused, match="of somebody else"):
        backend.serve(bench.order())
    backend.remove(NAME)
    assert bench.cluster.all("services")[NAME]["spec"] == {"replicas": 1}


def test_an_image_that_does_not_come_is_told_and_waited_for(bench: Bench) -> None:
    bench.machinery.image_pull = "Back-off pulling image vllm: not found"
    backend = bench.build()
    backend.serve(bench.order())
    seen = wait_for(backend, lambda server: server.reason is not None)
    assert (seen.phase, seen.reason) == (
        ServePhase.STARTING,
        "ImagePullBackOff: Back-off pulling image vllm: not found",
    )
    bench.machinery.image_pull = None
    wait_for(backend, ready())


def test_no_room_is_told_in_the_schedulers_words_until_the_time_is_over(bench: Bench) -> None:
    bench.machinery.unschedulable = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    backend = bench.build(start_timeout_s=1)
    backend.serve(bench.order())
    seen = wait_for(backend, lambda server: server.phase is ServePhase.FAILED)
    assert seen.reason is not None
    assert seen.reason.startswith("not ready after 1 s: Unschedulable: 0/1 nodes")


@pytest.mark.slow
def test_a_server_that_needs_too_much_memory(bench: Bench) -> None:
    bench.machinery.oom = True
    backend = bench.build()
    backend.serve(bench.order())
    seen = wait_for(backend, lambda server: server.phase is ServePhase.FAILED)
    assert (seen.reason or "").startswith("OOMKilled: ")


@pytest.mark.slow
def test_a_server_that_dies_is_started_again(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order())
    wait_for(backend, ready())
    before = ask(bench.machinery.port_of(NAME), "x")
    [pod] = bench.machinery.pods.values()
    pod.crash()
    seen = wait_for(backend, lambda server: server.phase is ServePhase.STARTING)
    assert seen.reason is None or "exit code" in seen.reason
    wait_for(backend, ready())
    assert ask(bench.machinery.port_of(NAME), "x") != before
    assert [each.restarts for each in bench.machinery.pods.values()] == [1]


def test_weights_swapped_between_two_replicas_never_serve(bench: Bench) -> None:
    backend = bench.build()
    order = bench.order(replicas=1, max_replicas=1)
    backend.serve(order)
    wait_for(backend, ready())
    bench.store.put("models/m/config.json", b'{"model_type": "llama", "evil": true}')
    backend.serve(replace(order, replicas=2, max_replicas=2))
    seen = wait_for(backend, lambda server: server.reason is not None)
    assert (seen.phase, seen.ready_replicas) == (ServePhase.READY, 1), "the verified one goes on"
    assert "refused: config.json" in (seen.reason or "")


@pytest.mark.slow
def test_two_backends_at_once_make_one(bench: Bench) -> None:
    """A leader that does not know yet that it leads no more."""
    one, other = bench.build(), bench.build()
    one.serve(bench.order())
    other.serve(bench.order())
    wait_for(one, ready())
    assert wait_for(other, ready()).current
    assert len(bench.machinery.pods) == 1


@pytest.mark.slow
def test_an_endpoint_of_another_release_is_none_of_ours(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order())
    wait_for(backend, ready())

    def rename(found: dict[str, Any]) -> None:
        found["metadata"]["labels"]["app.kubernetes.io/instance"] = "other"

    for plural in ("deployments", "services"):
        bench.cluster.update(plural, NAME, rename)
    again = bench.build()
    assert again.observe() == {}
    again.remove(NAME)
    assert bench.names()["deployments"] == [NAME]
