"""What the API server itself says of the chart's objects, and what its admission policies let in."""

import copy
import os
import time
from collections.abc import Callable
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import kubernetes
import pytest
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError
from kubernetes.dynamic.exceptions import ResourceNotFoundError
from rendered_chart import Object
from rendered_chart import Values
from rendered_chart import of_kind
from rendered_chart import profile_values
from rendered_chart import render
from rendered_chart import variants

from deploy.contract.layout import spec_key
from deploy.endpoint.protocol import Serve
from deploy.endpoint.serving_manifest import manifests
from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.settings import read_cluster_settings
from deploy.launch.job_manifest import job_manifest
from deploy.launch.protocol import Launch

# An operator's kubeconfig may do without a certificate authority, as that of a throw-away cluster.
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="module")
def api() -> Iterator[DynamicClient]:
    if "KUBECONFIG" not in os.environ:
        pytest.fail("KUBECONFIG is not set: see 'Try an install' in docs/cluster.md")
    kubernetes.config.load_kube_config(os.environ["KUBECONFIG"])
    client = kubernetes.client.ApiClient()
    yield DynamicClient(client)
    client.rest_client.pool_manager.clear()


@pytest.fixture(scope="module")
def namespace(api: DynamicClient) -> Iterator[str]:
    """A namespace that is restricted as those of the chart are, with the accounts that its pods name."""
    name = f"temper-chart-{token_hex(3)}"
    core = kubernetes.client.CoreV1Api(api.client)
    core.create_namespace({"metadata": {"name": name, "labels": RESTRICTED}})
    for account in ("api", "reconciler", "broker", "migrate", "test", "postgresql", "job", "endpoint"):
        core.create_namespaced_service_account(name, {"metadata": {"name": f"temper-{account}"}})
    yield name
    core.delete_namespace(name)


@pytest.mark.parametrize(
    ("values", "upgrade"), [pytest.param(values, upgrade, id=name) for name, values, upgrade in variants()]
)
def test_the_api_server_takes_every_object(
    values: Values, upgrade: bool, api: DynamicClient, namespace: str
) -> None:
    """Kinds of other projects (Prometheus, Kueue, Gateway API) only where they are installed."""
    for each in render(values, upgrade=upgrade):
        try:
            resource = api.resources.get(api_version=each["apiVersion"], kind=each["kind"])
        except ResourceNotFoundError:
            assert "." in each["apiVersion"]
            continue
        given = copy.deepcopy(each)
        # A name that nothing on this cluster has, within the longest that a name may be.
        given["metadata"]["name"] = f"{each['metadata']['name'][:40]}-{token_hex(3)}"
        where = {"namespace": namespace} if "namespace" in given["metadata"] else {}
        given["metadata"].update(where)
        resource.create(body=given, dry_run="All", field_validation="Strict", **where)


@pytest.fixture(scope="module")
def guarded(api: DynamicClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSettings]:
    """Namespaces of jobs and endpoints with the chart's policies on them."""
    name = f"temper-guarded-{token_hex(3)}"
    change = {
        "admissionPolicy": {"enabled": True, "additionalImages": ["old/temper-trainer:1"]},
        "fullnameOverride": name,
        "jobs": {"namespace": {"name": f"{name}-jobs"}},
        "endpoints": {"namespace": {"name": f"{name}-endpoints"}},
    }
    objects = render(profile_values("small", change))
    wanted = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "Namespace"}
    made = [each for each in objects if each["kind"] in wanted]
    accounts = [each for each in of_kind(objects, "ServiceAccount") if each["metadata"]["namespace"] != "ml"]
    try:
        for each in sorted(made, key=lambda found: found["kind"] != "Namespace") + accounts:
            _resource(api, each).create(body=each, namespace=each["metadata"].get("namespace"))
        (config,) = [each for each in of_kind(objects, "ConfigMap") if "cluster.yaml" in each["data"]]
        path = tmp_path_factory.mktemp("settings") / "cluster.yaml"
        path.write_text(config["data"]["cluster.yaml"])
        settings = read_cluster_settings(path)
        _await_policies(api, settings)
        yield settings
    finally:
        for each in reversed(made):
            _resource(api, each).delete(name=each["metadata"]["name"])


def _resource(api: DynamicClient, each: Object) -> Any:
    return api.resources.get(api_version=each["apiVersion"], kind=each["kind"])


def _await_policies(api: DynamicClient, settings: ClusterSettings) -> None:
    """A policy takes a moment to be heard of by the API server."""
    foreign = {**_job_pod(settings), "serviceAccountName": "default"}
    deadline = time.monotonic() + 60
    for namespace in (settings.jobs.namespace, settings.endpoints.namespace):
        while _refused(api, namespace, foreign) is None:
            assert time.monotonic() < deadline, f"no policy in {namespace}"


def _refused(api: DynamicClient, namespace: str, spec: Object) -> str | None:
    """Why the API server does not admit a pod; None when it would."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked"}, "spec": spec}
    try:
        _resource(api, pod).create(body=pod, namespace=namespace, dry_run="All")
    except DynamicApiError as error:
        return str(error.summary())
    return None


def _job_pod(settings: ClusterSettings) -> Object:
    order = Launch(
        name="harden-a1-1",
        spec_uri=f"s3://models/team/a/{spec_key('ftjob-a1', 1)}",
        spec_sha256="0" * 64,
        deadline_s=60,
    )
    return dict(job_manifest(order, settings)["spec"]["template"]["spec"])


def _endpoint_pod(settings: ClusterSettings) -> Object:
    serve = Serve(name="ep-a1", model_id="m", weights_uri="s3://models/team/a/w/", files=())
    made = manifests(serve, settings, order_uri="s3://models/team/a/order", order_sha256="0" * 64)
    return {**made.deployment["spec"]["template"]["spec"], "restartPolicy": "Always"}


def test_the_reconcilers_own_pods_are_admitted(api: DynamicClient, guarded: ClusterSettings) -> None:
    assert _refused(api, guarded.jobs.namespace, _job_pod(guarded)) is None
    assert _refused(api, guarded.endpoints.namespace, _endpoint_pod(guarded)) is None


def _image(image: str) -> Callable[[Object], None]:
    return lambda spec: spec["containers"][0].update(image=image)


def test_other_tags_of_our_repositories_and_named_images_are_too(
    api: DynamicClient, guarded: ClusterSettings
) -> None:
    for image in ("temper-trainer:0.0.9", f"temper-trainer@sha256:{'0' * 64}", "old/temper-trainer:1"):
        spec = copy.deepcopy(_job_pod(guarded))
        _image(image)(spec)
        assert _refused(api, guarded.jobs.namespace, spec) is None, image


def _init_container(spec: Object) -> Object:
    kept = {key: spec["containers"][0][key] for key in ("resources", "securityContext", "volumeMounts")}
    return {**kept, "name": "first", "image": "busybox:1"}


TOKEN = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
SECRET_VARIABLE = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_image("busybox:1"), "Only images of this release"),
        (_image("temper-trainer-evil:1"), "Only images of this release"),
        (_image("evil/temper-trainer:1"), "Only images of this release"),
        (
            lambda spec: spec.update(initContainers=[_init_container(spec)]),
            "Only images of this release",
        ),
        (lambda spec: spec.update(serviceAccountName="default"), "run as the ServiceAccount"),
        (
            lambda spec: spec["volumes"].append({"name": "s", "secret": {"secretName": "s"}}),
            "mount no Secret",
        ),
        (
            lambda spec: spec["volumes"].append(
                {"name": "s", "projected": {"sources": [{"secret": {"name": "s"}}]}}
            ),
            "mount no Secret",
        ),
        (lambda spec: spec["containers"][0]["env"].append(SECRET_VARIABLE), "read no Secret"),
        (
            lambda spec: spec["containers"][0].update(envFrom=[{"secretRef": {"name": "s"}}]),
            "read no Secret",
        ),
        (lambda spec: spec["volumes"].append(TOKEN), "hold no token of the API server"),
        (lambda spec: spec.update(automountServiceAccountToken=True), "hold no token of the API server"),
    ],
)
def test_what_no_pod_of_ours_is_like_is_refused(
    change: Callable[[Object], None], said: str, api: DynamicClient, guarded: ClusterSettings
) -> None:
    for namespace, spec in (
        (guarded.jobs.namespace, _job_pod(guarded)),
        (guarded.endpoints.namespace, _endpoint_pod(guarded)),
    ):
        changed = copy.deepcopy(spec)
        change(changed)
        assert said in (_refused(api, namespace, changed) or "admitted"), namespace
