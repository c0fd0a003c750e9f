"""Whose token it is, asked of a real API server: the tokens that kubelets give to pods, and those that they do not."""

import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import kubernetes
import pytest
from broker_server import BrokerServer
from broker_server import bare_context

from deploy.store.directory import DirStore
from deploy.store.protocol import StoreError
from service.broker.authorisation import Account
from service.broker.authorisation import Accounts
from service.broker.authorisation import JobPod
from service.broker.authorisation import pod_of
from service.broker.identity import PodIdentity
from service.broker.kubernetes_reviewer import KubernetesReviewer
from service.broker.kubernetes_reviewer import cluster_configuration

pytestmark = pytest.mark.cluster
AUDIENCE = "temper-broker"
NAME = "harden-abc-1-x4k2z"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A namespace of the test's own, with a ServiceAccount; its pods are never scheduled."""

    core: Any
    namespace: str

    def pod(self, name: str) -> str:
        """Make a pod; returns its uid."""
        container = {"name": "main", "image": "none.invalid/none:0"}
        spec = {
            "serviceAccountName": "temper-job",
            "nodeSelector": {"temper.test/nowhere": "true"},
            "containers": [container],
        }
        made = self.core.create_namespaced_pod(self.namespace, {"metadata": {"name": name}, "spec": spec})
        return str(made.metadata.uid)

    def token(self, *, audiences: list[str], pod: tuple[str, str] | None) -> str:
        """A token as a kubelet asks for it."""
        spec: dict[str, Any] = {"audiences": audiences, "expirationSeconds": 600}
        if pod is not None:
            name, uid = pod
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}
        answer = self.core.create_namespaced_service_account_token(
            "temper-job", self.namespace, {"spec": spec}
        )
        return str(answer.status.token)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    core = kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(cluster_configuration()))
    namespace = f"temper-review-{token_hex(4)}"
    core.create_namespace({"metadata": {"name": namespace}})
    try:
        core.create_namespaced_service_account(namespace, {"metadata": {"name": "temper-job"}})
        yield Place(core=core, namespace=namespace)
    finally:
        core.delete_namespace(namespace)


@pytest.fixture(scope="module")
def pod(place: Place) -> tuple[str, str]:
    """Name and uid."""
    return NAME, place.pod(NAME)


@pytest.fixture
def reviewer() -> KubernetesReviewer:
    return KubernetesReviewer(AUDIENCE, cluster_configuration())


def test_a_pods_own_token_says_which_job_and_attempt_it_is(
    place: Place, pod: tuple[str, str], reviewer: KubernetesReviewer
) -> None:
    identity = reviewer.review(place.token(audiences=[AUDIENCE], pod=pod))
    assert identity == PodIdentity(
        namespace=place.namespace, service_account="temper-job", pod_name=NAME, pod_uid=pod[1]
    )
    account = Account(namespace=place.namespace, name="temper-job")
    accounts = Accounts(jobs=account, endpoints=Account(namespace="elsewhere", name="x"))
    whose = pod_of(account=account, name=identity.pod_name, uid=identity.pod_uid, accounts=accounts)
    assert whose == JobPod(job_id="ftjob-abc", attempt=1, uid=pod[1])


def test_a_token_for_another_audience_is_nobodys(
    place: Place, pod: tuple[str, str], reviewer: KubernetesReviewer
) -> None:
    assert reviewer.review(place.token(audiences=["https://kubernetes.default.svc"], pod=pod)) is None
    assert reviewer.review(place.token(audiences=["another"], pod=pod)) is None


def test_a_token_of_no_pod_is_nobodys(
    place: Place, pod: tuple[str, str], reviewer: KubernetesReviewer
) -> None:
    assert reviewer.review(place.token(audiences=[AUDIENCE], pod=None)) is None


def test_a_forged_token_is_nobodys(place: Place, pod: tuple[str, str], reviewer: KubernetesReviewer) -> None:
    header, payload, signature = place.token(audiences=[AUDIENCE], pod=pod).split(".")
    assert reviewer.review(f"{header}.{payload}.{signature[::-1]}") is None
    assert reviewer.review("a.b.c") is None


def test_a_pod_reaches_the_store_with_its_own_token_alone(
    place: Place,
    pod: tuple[str, str],
    reviewer: KubernetesReviewer,
    make_broker: Callable[..., BrokerServer],
    tmp_path: Path,
) -> None:
    own = DirStore(tmp_path / "objects")
    broker = make_broker(bare_context(tmp_path / "home", own), reviewer=reviewer)
    store = broker.store(max_attempts=1)
    broker.token_file.write_text(place.token(audiences=[AUDIENCE], pod=pod))
    stored = store.put("k", bytes(3 << 20))
    store.fetch_file("k", tmp_path / "k", stored)
    for token in (place.token(audiences=["another"], pod=pod), place.token(audiences=[AUDIENCE], pod=None)):
        broker.token_file.write_text(token)
        with pytest.raises(StoreError, match="token for the broker is needed"):
            store.get("k")


def test_the_token_of_a_deleted_pod_is_soon_nobodys(place: Place, reviewer: KubernetesReviewer) -> None:
    name = "harden-abc-2-x4k2z"
    token = place.token(audiences=[AUDIENCE], pod=(name, place.pod(name)))
    assert reviewer.review(token) is not None
    place.core.delete_namespaced_pod(name, place.namespace, grace_period_seconds=0)
    deadline = time.monotonic() + 60  # the API server remembers its own answers for some 10 s
    while reviewer.review(token) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.5)
