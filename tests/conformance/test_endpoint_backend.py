"""What every endpoint backend must do: processes of this machine, Deployments of a fake API server, and of a real one.

The model server is a stand-in; fetching, verifying, probing and draining are the real thing. The real cluster runs
with ``-m cluster`` in a namespace of its own on the cluster that KUBECONFIG names. There, the init container gets its
files from its own command line instead of a broker, for this suite is about the objects; the image of both containers
needs a ``python3`` and our code: TEMPER_TEST_API_IMAGE, the api's by default.
"""

import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cluster_settings import cluster_settings
from least_model import least_model
from least_model import put_files

from deploy.endpoint.kubernetes import KubernetesEndpoints
from deploy.endpoint.local import LocalEndpoints
from deploy.endpoint.protocol import EndpointBackend
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


@dataclass
class Bench:
    """A store with models in it, and backends over it."""

    store: DirStore
    new: Callable[[int], EndpointBackend]
    made: list[EndpointBackend] = field(default_factory=list)
    drains_s: float = 1.5
    """A replica that goes has ended after this long."""

    def build(self, start_timeout_s: int = 60) -> EndpointBackend:
        """A backend on the state of those before it."""
        self.made.append(self.new(start_timeout_s))
        return self.made[-1]

    def order(self, name: str = NAME, *, stand_in: str = "", **config: str) -> Serve:
        prefix = f"models/{name}"
        files = put_files(self.store, prefix, least_model(stand_in, **config))
        return Serve(name=name, model_id=f"ft:{name}", weights_uri=f"{self.store.uri}/{prefix}/", files=files)


def local(tmp_path: Path) -> Iterator[Bench]:
    # The real deploy.endpoint.server, which becomes the "vllm" beside this "python".
    programs = tmp_path / "bin"
    programs.mkdir()
    vllm = programs / "vllm"
    vllm.write_text(f"#!{sys.executable} -S\nimport runpy\nrunpy.run_path({str(STAND_IN)!r})\n")
    vllm.chmod(0o700)
    code = f"import sys; from deploy.endpoint import server; sys.executable = {str(programs / 'python')!r}"
    command = [sys.executable, "-c", f"{code}; sys.exit(server.main())"]

    def new(start_timeout_s: int) -> EndpointBackend:
        return LocalEndpoints(tmp_path / "endpoints", command=command, start_timeout_s=start_timeout_s)

    bench = Bench(_store(tmp_path), new)
    yield bench
    for backend in bench.made:
        backend.close()


def fake(cluster: FakeCluster, tmp_path: Path) -> Iterator[Bench]:
    machinery = ServingMachinery(cluster, [sys.executable, "-S", str(STAND_IN), "serve"], tmp_path / "pods")
    machinery.start()
    clients = []

    def new(start_timeout_s: int) -> EndpointBackend:
        plain = cluster_settings()
        url = f"http://127.0.0.1:{machinery.port_of(NAME)}"
        changed = {"start_timeout_s": max(10, start_timeout_s), "url": url, "gpus": 0}
        settings = plain.model_copy(update={"endpoints": plain.endpoints.model_copy(update=changed)})
        clients.append(cluster.client())
        hurry = (lambda: time.monotonic() * 10 / start_timeout_s) if start_timeout_s < 10 else time.monotonic
        return KubernetesEndpoints(clients[-1], settings, store, monotonic=hurry)

    store = _store(tmp_path)
    bench = Bench(store, new)
    yield bench
    for backend in bench.made:
        backend.close()
    for client in clients:
        client.close()
    machinery.close()


def _store(tmp_path: Path) -> DirStore:
    store = open_store((tmp_path / "store").as_uri())
    assert isinstance(store, DirStore)
    return store


@pytest.fixture(params=["local", "fake", pytest.param("cluster", marks=pytest.mark.cluster)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "local":
        yield from local(tmp_path)
    elif request.param == "fake":
        yield from fake(request.getfixturevalue("fake_cluster"), tmp_path)
    else:
        kubeconfig = os.environ.get("KUBECONFIG")
        if not kubeconfig:
            pytest.fail("KUBECONFIG names no cluster")
        from real_endpoints import real_endpoints  # its own client, its own namespace

        store = _store(tmp_path)
        with real_endpoints(kubeconfig, store, STAND_IN) as new:
            bench = Bench(store, new, drains_s=20)
            yield bench
            for backend in bench.made:
                backend.close()


def settle(backend: EndpointBackend, name: str = NAME, seconds: float = 180) -> Server:
    limit = time.monotonic() + seconds
    while (server := backend.observe().get(name)) is None or server.phase is ServePhase.STARTING:
        assert time.monotonic() < limit, server
        time.sleep(0.05)
    return server


def ask(server: Server, prompt: str = "x", *, patient: bool = True) -> dict[str, object]:
    assert server.base_url is not None
    url = urlsplit(server.base_url)
    assert url.hostname is not None
    # A real cluster's nodes hear of a new Service a moment after the API server.
    tries = 20 if patient and url.hostname != "127.0.0.1" else 1
    while True:
        tries -= 1
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
        body = json.dumps({"model": f"ft:{server.name}", "prompt": prompt, "max_tokens": 4})
        try:
            connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
            response = connection.getresponse()
            data = response.read()
            assert response.status == 200, data
            return dict(json.loads(data))
        except (AssertionError, OSError, http.client.HTTPException):
            if tries <= 0:
                raise
            time.sleep(0.5)
        finally:
            connection.close()


def test_ready_means_that_it_answers(bench: Bench) -> None:
    backend = bench.build()
    assert backend.observe() == {}
    backend.serve(bench.order())
    server = settle(backend)
    assert server.phase is ServePhase.READY, server.reason
    assert ask(server)["model"] == f"ft:{NAME}"


def test_served_again_it_is_left_alone(bench: Bench) -> None:
    backend = bench.build()
    for _ in range(2):
        backend.serve(bench.order())
    first = ask(settle(backend))["id"]
    backend.serve(bench.order())
    time.sleep(0.5)
    server = settle(backend)
    assert (server.current, ask(server)["id"]) == (True, first)


def test_removed_it_is_gone_and_can_be_served_again(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order())
    first = ask(settle(backend))["id"]
    for _ in range(2):
        backend.remove(NAME)
    limit = time.monotonic() + 60
    while NAME in backend.observe():
        assert time.monotonic() < limit
        time.sleep(0.05)
    backend.serve(bench.order())
    server = settle(backend)
    assert server.phase is ServePhase.READY
    # What its old server is asked while it ends, it still answers.
    while ask(server)["id"] == first:
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_removing_nothing_is_no_error(bench: Bench) -> None:
    backend = bench.build()
    backend.remove("ep-none")
    assert backend.observe() == {}


def test_a_new_backend_finds_what_is_served(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order())
    assert settle(backend).phase is ServePhase.READY
    backend.close()
    server = settle(bench.build())
    assert server.phase is ServePhase.READY
    ask(server)


def test_j9_weights_that_were_swapped_never_become_ready(bench: Bench) -> None:
    backend = bench.build()
    order = bench.order()
    bench.store.put(f"models/{NAME}/config.json", b'{"model_type": "llama", "x": 1}')
    backend.serve(order)
    server = settle(backend)
    assert server.phase is ServePhase.FAILED
    assert "refused: config.json: recorded" in (server.reason or "")


def test_what_cannot_be_served_says_why(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order(model_type="t5"))
    server = settle(backend)
    assert server.phase is ServePhase.FAILED
    assert "vLLM does not serve it" in (server.reason or "")


def test_a_server_that_crashes_shows_the_end_of_its_log(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order(stand_in="crash"))
    server = settle(backend)
    assert server.phase is ServePhase.FAILED
    assert "exit code 1" in (server.reason or "")
    assert "RuntimeError: no kernel for head size 33" in (server.reason or "")


@pytest.mark.parametrize("behaviour", ["hang", "mute"])
def test_a_start_has_an_end_and_health_is_not_enough(bench: Bench, behaviour: str) -> None:
    backend = bench.build(start_timeout_s=4)
    backend.serve(bench.order(stand_in=behaviour))
    server = settle(backend)
    assert server.phase is ServePhase.FAILED
    assert "not ready after" in (server.reason or "")


def test_another_number_of_replicas_fails_no_request(bench: Bench) -> None:
    backend = bench.build()
    backend.serve(bench.order())
    server = settle(backend)
    ask(server)
    failures: list[Exception] = []
    over = threading.Event()

    def keep_asking(prompt: str) -> None:
        while not over.is_set():
            try:
                ask(server, prompt, patient=False)
            except (AssertionError, OSError, http.client.HTTPException) as error:
                failures.append(error)

    threads = [threading.Thread(target=keep_asking, args=(prompt,)) for prompt in ("x", "slow", "very slow")]
    for thread in threads:
        thread.start()
    for count in (2, 1):
        backend.serve(replace(bench.order(), replicas=count, max_replicas=count))
        wait_for_replicas(backend, count)
        time.sleep(bench.drains_s)
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []


def wait_for_replicas(backend: EndpointBackend, count: int) -> None:
    """Until that many answer; None answers for a backend that always has one."""
    limit = time.monotonic() + 120
    while (server := backend.observe()[NAME]).ready_replicas not in {None, count}:
        assert server.phase is ServePhase.READY, "there is no gap"
        assert time.monotonic() < limit, server
        time.sleep(0.05)


def test_a_name_that_is_none_is_refused(bench: Bench) -> None:
    backend = bench.build()
    with pytest.raises(EndpointRefused):
        backend.serve(replace(bench.order(), name="../ep"))
    assert backend.observe() == {}
