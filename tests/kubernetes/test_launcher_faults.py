"""What a real cluster does to pods of jobs, and what the launcher makes of it."""

import dataclasses
import json
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from kubernetes.client import Configuration
from real_cluster import ScriptedClient
from real_cluster import connected
from real_cluster import own_namespace
from real_cluster import small_settings
from waiting import until

from deploy.contract.layout import job_of_name
from deploy.contract.layout import spec_key
from deploy.contract.resources import Resources
from deploy.kubernetes.client import KubernetesClient
from deploy.kubernetes.client import Object
from deploy.kubernetes.errors import KubernetesRefused
from deploy.kubernetes.kinds import JOBS
from deploy.kubernetes.kinds import PODS
from deploy.kubernetes.kinds import SERVICES
from deploy.kubernetes.kinds import Kind
from deploy.launch.kubernetes import KubernetesLauncher
from deploy.launch.protocol import Launch
from deploy.launch.protocol import Run
from deploy.launch.protocol import RunCause
from deploy.launch.protocol import RunPhase

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]
NAME = "harden-a1-1"
WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(51))
print("ready", flush=True)
while True: time.sleep(0.05)
"""
Launching = Callable[..., KubernetesLauncher]


def order(name: str = NAME, **given: Any) -> Launch:
    identity = job_of_name(name)
    assert identity is not None
    uri = f"s3://bucket/{spec_key(*identity)}"
    return dataclasses.replace(Launch(name=name, spec_uri=uri, spec_sha256="0" * 64, deadline_s=600), **given)


@pytest.fixture
def client() -> Iterator[KubernetesClient]:
    made = connected()
    yield made
    made.close()


@pytest.fixture
def namespace(client: KubernetesClient) -> Iterator[str]:
    with own_namespace(client) as name:
        yield name


@pytest.fixture
def launching(client: KubernetesClient, namespace: str) -> Iterator[Launching]:
    with ExitStack() as made:

        def build(code: str, **settings: Any) -> KubernetesLauncher:
            launcher = KubernetesLauncher(ScriptedClient(client, code), small_settings(namespace, **settings))
            made.callback(launcher.close)
            return launcher

        yield build


eventually = partial(until, seconds=90.0, pause_s=0.1)


def wait_for(launcher: KubernetesLauncher, *phases: RunPhase, name: str = NAME) -> Run:
    eventually(lambda: name in launcher.observe() and launcher.observe()[name].phase in phases)
    return launcher.observe()[name]


def pods(client: KubernetesClient, namespace: str, name: str = NAME) -> list[Object]:
    return list(client.list(PODS, namespace, selector=f"batch.kubernetes.io/job-name={name}").objects)


def ready(launcher: KubernetesLauncher) -> bool:
    return "ready" in launcher.log_tail(NAME)


def test_a_drained_pod_is_replaced_in_the_same_attempt(
    client: KubernetesClient, namespace: str, launching: Launching
) -> None:
    launcher = launching(WAITS)
    launcher.launch(order())
    eventually(lambda: ready(launcher))
    first = pods(client, namespace)[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": first}}
    client._object("POST", PODS.path(namespace, first, "eviction"), body=eviction)
    seen: set[RunPhase] = set()

    def replaced() -> bool:
        run = launcher.observe()[NAME]
        seen.add(run.phase)
        names = {pod["metadata"]["name"] for pod in pods(client, namespace)}
        return run.phase is RunPhase.RUNNING and bool(names) and first not in names and ready(launcher)

    eventually(replaced)
    assert seen <= {RunPhase.RUNNING, RunPhase.PENDING}
    launcher.remove(NAME)


def test_a_pod_deleted_by_hand_ends_the_attempt(
    client: KubernetesClient, namespace: str, launching: Launching
) -> None:
    launcher = launching(WAITS)
    launcher.launch(order())
    eventually(lambda: ready(launcher))
    client.delete(PODS, namespace, pods(client, namespace)[0]["metadata"]["name"])
    assert wait_for(launcher, RunPhase.EXITED).exit_code == 51


def test_out_of_memory(launching: Launching) -> None:
    launcher = launching("x = bytearray(1)\nwhile True: x += bytearray(16 << 20)", run={"memory": "48Mi"})
    launcher.launch(order())
    run = wait_for(launcher, RunPhase.EXITED, RunPhase.LOST)
    assert (run.phase, run.exit_code, run.cause) == (RunPhase.EXITED, 137, RunCause.OUT_OF_MEMORY)


def test_a_full_scratch_volume_ends_the_attempt(launching: Launching) -> None:
    code = "import time\nopen('/scratch/x', 'wb').write(bytes(64 << 20))\ntime.sleep(300)"
    launcher = launching(code, run={"scratch": "16Mi"})
    launcher.launch(order())
    eventually(
        lambda: launcher.observe()[NAME].phase not in {RunPhase.PENDING, RunPhase.RUNNING}, seconds=180
    )
    run = launcher.observe()[NAME]
    assert "scratch" in (run.reason or "")
    assert run.cause is None


def test_no_such_image(launching: Launching) -> None:
    launcher = launching("pass", image="no-such-image:none", image_pull_policy="Never", pending_timeout_s=8)
    launcher.launch(order())
    eventually(lambda: launcher.observe()[NAME].cause is RunCause.IMAGE_PULL_FAILED)
    run = wait_for(launcher, RunPhase.LOST)
    assert run.cause is RunCause.IMAGE_PULL_FAILED
    assert "no-such-image:none" in (run.reason or "")
    launcher.remove(NAME)
    assert launcher.observe() == {}


def test_no_such_machine(launching: Launching) -> None:
    launcher = launching("pass", run={"max_gpus": 1}, pending_timeout_s=6)
    launcher.launch(order(resources=Resources(gpus=1)))
    eventually(lambda: launcher.observe()[NAME].cause is RunCause.UNSCHEDULABLE)
    run = wait_for(launcher, RunPhase.LOST)
    assert "Insufficient nvidia.com/gpu" in (run.reason or "")


def test_a_quota_that_is_used_up(client: KubernetesClient, namespace: str, launching: Launching) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    client._object("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", body=quota)
    launcher = launching("pass", pending_timeout_s=5)
    launcher.launch(order())
    assert "quota" in (wait_for(launcher, RunPhase.PENDING).reason or "")
    assert "quota" in (wait_for(launcher, RunPhase.LOST).reason or "")


def test_a_job_deleted_by_hand(client: KubernetesClient, namespace: str, launching: Launching) -> None:
    launcher = launching(WAITS)
    launcher.launch(order())
    eventually(lambda: ready(launcher))
    client.delete(JOBS, namespace, NAME, propagation="Background")
    eventually(lambda: NAME not in launcher.observe())
    eventually(lambda: not pods(client, namespace))


def test_a_suspended_job_waits_and_can_be_stopped(
    client: KubernetesClient, namespace: str, launching: Launching
) -> None:
    launcher = launching(WAITS, queue="training")
    launcher.launch(order())
    assert launcher.observe()[NAME].cause is RunCause.QUEUED
    client.patch(JOBS, namespace, NAME, {"spec": {"suspend": False}})  # as Kueue admits it
    eventually(lambda: ready(launcher))
    client.patch(JOBS, namespace, NAME, {"spec": {"suspend": True}})  # as Kueue preempts it
    eventually(lambda: launcher.observe()[NAME].phase is RunPhase.PENDING)
    eventually(lambda: not pods(client, namespace))
    launcher.stop(NAME, grace_s=1)
    run = wait_for(launcher, RunPhase.EXITED)
    assert (run.exit_code, run.reason) == (143, "stopped before it started")


RIGHTS = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete", "list", "patch", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["services"], "verbs": ["create", "get"]},
]
"""Of the reconciler in the namespace of jobs, as the chart gives them."""


def _client_of(
    client: KubernetesClient, namespace: str, account: str, rules: list[Object]
) -> KubernetesClient:
    """A client that is a ServiceAccount with some rights."""
    group = "rbac.authorization.k8s.io"
    path = f"/apis/{group}/v1/namespaces/{namespace}"
    named = {"metadata": {"name": account}}
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    client._object("POST", accounts, body={"apiVersion": "v1", "kind": "ServiceAccount", **named})
    role: Object = {"apiVersion": f"{group}/v1", "kind": "Role", **named, "rules": rules}
    client._object("POST", f"{path}/roles", body=role)
    binding: Object = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        **named,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    client._object("POST", f"{path}/rolebindings", body=binding)
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    token = client._object("POST", f"{accounts}/{account}/token", body=asked)["status"]["token"]
    ours = client._api.configuration
    configuration = Configuration(host=ours.host, api_key={"authorization": f"Bearer {token}"})
    configuration.verify_ssl, configuration.ssl_ca_cert = ours.verify_ssl, ours.ssl_ca_cert
    return KubernetesClient(configuration)


def test_the_rights_that_the_chart_gives_are_enough_and_no_more(
    client: KubernetesClient, namespace: str
) -> None:
    ours = _client_of(client, namespace, "reconciler", RIGHTS)
    secrets = Kind(api_version="v1", name="Secret", plural="secrets")
    with pytest.raises(KubernetesRefused, match="403"):
        ours.list(secrets, namespace, selector="")
    launcher = KubernetesLauncher(ScriptedClient(ours, WAITS), small_settings(namespace))
    try:
        launcher.launch(order(resources=Resources(nodes=2)))
        launcher.launch(order(resources=Resources(nodes=2)))
        eventually(lambda: ready(launcher))
        launcher.stop(NAME, grace_s=20)
        assert wait_for(launcher, RunPhase.EXITED).exit_code == 51
        launcher.remove(NAME)
        eventually(lambda: not pods(client, namespace))
    finally:
        launcher.close()
        ours.close()


def test_the_pod_has_a_token_for_the_broker_alone(launching: Launching) -> None:
    code = (
        "import base64, json, os, pathlib\n"
        "token = pathlib.Path(os.environ['TEMPER_BROKER_TOKEN_FILE']).read_text()\n"
        "body = token.split('.')[1]\n"
        "claims = json.loads(base64.urlsafe_b64decode(body + '=' * (-len(body) % 4)))\n"
        "pod = claims['kubernetes.io']['pod']\n"
        "print(json.dumps([claims['aud'], pod['name'], pod['uid'] == os.environ['TEMPER_POD']]))\n"
        "print(pathlib.Path('/var/run/secrets').exists(), os.getuid(), os.access('/', os.W_OK))\n"
        "print(sorted(name for name in os.environ if 'SERVICE_HOST' in name))\n"
        "pathlib.Path('/dev/shm/x').write_bytes(bytes(1 << 20))"
    )
    launcher = launching(code)
    launcher.launch(order())
    assert wait_for(launcher, RunPhase.EXITED).exit_code == 0
    claims, place, services = launcher.log_tail(NAME).splitlines()
    audience, pod, same = json.loads(claims)
    assert (audience, same) == (["temper-broker"], True)
    assert pod.startswith(f"{NAME}-")
    assert place == "False 10001 False"
    assert services == "['KUBERNETES_SERVICE_HOST']"


NODES = """
import os, socket, sys, time
host, port = os.environ["TEMPER_RENDEZVOUS"].split(":")
rank = int(os.environ["TEMPER_NODE_RANK"])
if rank == 0:
    server = socket.create_server(("", int(port)))
    server.settimeout(100)
    friend, _ = server.accept()
    print("met", friend.recv(10).decode(), flush=True)
    sys.exit({code})
while True:
    try:
        friend = socket.create_connection((host, int(port)), timeout=5)
        break
    except OSError as error:
        print(error, flush=True)
        time.sleep(0.5)
friend.sendall(b"node 1")
time.sleep(600)
"""


@pytest.mark.parametrize("code", [0, 45])
def test_two_nodes_meet_and_end_with_the_first(
    client: KubernetesClient, namespace: str, launching: Launching, code: int
) -> None:
    launcher = launching(NODES.format(code=code))
    launcher.launch(order(resources=Resources(nodes=2)))
    run = wait_for(launcher, RunPhase.EXITED)
    assert run.exit_code == code, launcher.log_tail(NAME)
    assert launcher.log_tail(NAME) == "met node 1"
    launcher.remove(NAME)
    eventually(lambda: not client.list(SERVICES, namespace, selector="app.kubernetes.io/name=temper").objects)
    eventually(lambda: not pods(client, namespace))


def test_a_drained_node_ends_the_attempt_of_several(
    client: KubernetesClient, namespace: str, launching: Launching
) -> None:
    launcher = launching(WAITS)
    launcher.launch(order(resources=Resources(nodes=2)))
    wait_for(launcher, RunPhase.RUNNING)
    eventually(lambda: ready(launcher))
    second = next(
        pod["metadata"]["name"]
        for pod in pods(client, namespace)
        if pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == "1"
    )
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": second}}
    client._object("POST", PODS.path(namespace, second, "eviction"), body=eviction)
    run = wait_for(launcher, RunPhase.EXITED)
    assert (run.exit_code, run.cause) == (51, RunCause.EVICTED)
