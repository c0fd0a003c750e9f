"""What each answer of an API server becomes, and that nothing waits for ever."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.kubernetes.client import KubernetesClient
from deploy.kubernetes.client import connect
from deploy.kubernetes.client import moment
from deploy.kubernetes.errors import HistoryGone
from deploy.kubernetes.errors import KubernetesError
from deploy.kubernetes.errors import KubernetesOverloaded
from deploy.kubernetes.errors import KubernetesRefused
from deploy.kubernetes.errors import KubernetesUnavailable
from deploy.kubernetes.errors import ObjectChanged
from deploy.kubernetes.errors import ObjectExists
from deploy.kubernetes.errors import ObjectGone
from deploy.kubernetes.kinds import DEPLOYMENTS
from deploy.kubernetes.kinds import JOBS
from deploy.kubernetes.kinds import PODS
from deploy.kubernetes.labels import is_ours
from deploy.kubernetes.labels import labels
from deploy.kubernetes.labels import selector
from tests.stand_ins.kubernetes_api import FakeCluster
from tests.stand_ins.kubernetes_api import matches


@pytest.fixture
def client(fake_cluster: FakeCluster) -> Iterator[KubernetesClient]:
    made = fake_cluster.client(timeout_s=0.5)
    yield made
    made.close()


def pod(name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": {"a": {"b": 1}},
    }


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, KubernetesRefused),
        (401, KubernetesUnavailable),
        (403, KubernetesRefused),
        (404, ObjectGone),
        (408, KubernetesUnavailable),
        (409, ObjectChanged),
        (410, HistoryGone),
        (422, KubernetesRefused),
        (429, KubernetesOverloaded),
        (500, KubernetesUnavailable),
        (503, KubernetesUnavailable),
        (504, KubernetesUnavailable),
    ],
)
@pytest.mark.parametrize("verb", ["create", "get", "list", "patch", "log", "watch"])
def test_each_status_is_one_error(
    fake_cluster: FakeCluster, client: KubernetesClient, status: int, error: type[KubernetesError], verb: str
) -> None:
    method = {"create": "POST", "patch": "PATCH", "watch": "WATCH"}.get(verb, "GET")
    fake_cluster.fail(method, "pods", status=status)
    calls = {
        "create": lambda: client.create(PODS, "n", pod()),
        "get": lambda: client.get(PODS, "n", "a"),
        "list": lambda: client.list(PODS, "n", selector=""),
        "patch": lambda: client.patch(PODS, "n", "a", {}),
        "log": lambda: client.log("n", "a", container="c", lines=1, limit_bytes=1),
        "watch": lambda: client.watch(PODS, "n", selector="", resource_version="1", lasts_s=1, silence_s=1),
    }
    with pytest.raises(error, match=f"^{status} .*scripted") as caught:
        calls[verb]()
    assert type(caught.value) is error


def test_patience_is_heard(fake_cluster: FakeCluster, client: KubernetesClient) -> None:
    for given, expected in (("7", 7.0), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)):
        fake_cluster.fail("GET", "pods", status=429, retry_after=given)
        with pytest.raises(KubernetesOverloaded) as caught:
            client.get(PODS, "n", "a")
        assert caught.value.retry_after_s == expected


@pytest.mark.parametrize("verb", ["create", "get"])
def test_a_connection_that_breaks_is_unavailable_and_nothing_is_sent_twice(
    fake_cluster: FakeCluster, client: KubernetesClient, verb: str
) -> None:
    fake_cluster.cut("POST" if verb == "create" else "GET", "pods")
    with pytest.raises(KubernetesUnavailable):
        client.create(PODS, "n", pod()) if verb == "create" else client.get(PODS, "n", "a")
    assert len(fake_cluster.requests) == 1


def test_a_server_that_says_nothing_is_unavailable(
    fake_cluster: FakeCluster, client: KubernetesClient
) -> None:
    began = time.monotonic()
    with (
        fake_cluster.partition(),
        pytest.raises(KubernetesUnavailable, match="GET /api/v1/namespaces/n/pods"),
    ):
        client.list(PODS, "n", selector="")
    assert time.monotonic() - began < 3


def test_an_object_lives_and_dies(client: KubernetesClient) -> None:
    made = client.create(PODS, "n", pod())
    with pytest.raises(ObjectExists, match="409 AlreadyExists"):
        client.create(PODS, "n", pod())
    changed = client.patch(PODS, "n", "a", {"spec": {"a": {"c": 2}, "d": 3}})
    assert changed["spec"] == {"a": {"b": 1, "c": 2}, "d": 3}
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    with pytest.raises(ObjectChanged):
        client.patch(PODS, "n", "a", stale)
    assert client.get(PODS, "n", "a")["spec"] == changed["spec"]
    assert client.delete(PODS, "n", "a", uid="of-another") is False
    assert client.delete(PODS, "n", "a", uid=made["metadata"]["uid"]) is True
    assert client.delete(PODS, "n", "a") is False
    with pytest.raises(ObjectGone):
        client.get(PODS, "n", "a")


def test_the_end_of_a_long_log_is_what_is_read(fake_cluster: FakeCluster, client: KubernetesClient) -> None:
    client.create(PODS, "n", pod())
    fake_cluster.update("pods", "a", lambda found: found["status"].update(phase="Running"))
    fake_cluster.logs["a"] = b"".join(b"%06d\n" % number for number in range(100_000))
    data = client.log("n", "a", container="c", lines=90_000, limit_bytes=64 * 1024)
    assert len(data) == 64 * 1024
    assert data.endswith(b"099999\n")


def test_time_is_the_servers(fake_cluster: FakeCluster, client: KubernetesClient) -> None:
    assert abs(client.server_now() - time.time()) < 2  # nothing was heard yet
    fake_cluster.ahead_s = 86_400.0
    client.list(PODS, "n", selector="")
    assert abs(client.server_now() - time.time() - 86_400) < 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T10:00:00Z", 1_795_428_000.0),
        ("2026-11-23T10:00:00.500000Z", 1_795_428_000.5),
        ("2026-11-23T11:00:00+01:00", 1_795_428_000.0),
        (None, None),
        ("", None),
        ("yesterday", None),
    ],
)
def test_moments(text: str | None, expected: float | None) -> None:
    assert moment(text) == expected


def test_where_things_are() -> None:
    assert PODS.path("n") == "/api/v1/namespaces/n/pods"
    assert JOBS.path("n", "a") == "/apis/batch/v1/namespaces/n/jobs/a"
    assert DEPLOYMENTS.path("n", "a", "scale") == "/apis/apps/v1/namespaces/n/deployments/a/scale"


def test_no_cluster_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubernetesError, match="cannot tell which cluster to use"):
        connect()
    with pytest.raises(KubernetesError, match="cannot tell which cluster to use"):
        connect(kubeconfig=str(tmp_path / "none"))


def test_a_kubeconfig_names_the_cluster_and_its_token(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{fake_cluster.url}"}}}}]
users: [{{name: u, user: {{token: a-token}}}}]
"""
    )
    client = connect(kubeconfig=str(path))
    client.create(PODS, "n", pod())
    assert fake_cluster.tokens == {"Bearer a-token"}
    client.close()


def test_labels_say_whose_an_object_is() -> None:
    made = labels("main", "job")
    assert is_ours({"labels": made}, "main")
    assert not is_ours({"labels": made}, "other")
    assert not is_ours({}, "main")
    assert matches({"metadata": {"labels": made}}, selector("main"))
    assert matches({"metadata": {"labels": made}}, selector("main", "job", "scan"))
    assert not matches({"metadata": {"labels": made}}, selector("main", "endpoint"))
    assert not matches({"metadata": {"labels": made}}, selector("other", "job"))
    with pytest.raises(ValueError, match="cannot be the value of a label"):
        labels("a b", "job")
