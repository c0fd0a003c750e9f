"""Every object of every profile and feature is one that Kubernetes takes."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import helm_python
import kubernetes_validate
import pytest
import yaml
from rendered_chart import CHART
from rendered_chart import NAMESPACE
from rendered_chart import PROFILES
from rendered_chart import Object
from rendered_chart import Values
from rendered_chart import documents
from rendered_chart import of_kind
from rendered_chart import pods
from rendered_chart import profile_values
from rendered_chart import render
from rendered_chart import variants

KUBERNETES = "1.36"
VARIANTS = [pytest.param(values, upgrade, id=name) for name, values, upgrade in variants()]
each_profile = pytest.mark.parametrize(("values", "upgrade"), VARIANTS[: 2 * len(PROFILES)])
each_variant = pytest.mark.parametrize(("values", "upgrade"), VARIANTS)
CUSTOM: dict[str, tuple[str, set[str]]] = {
    "monitoring.coreos.com/v1 ServiceMonitor": ("endpoints", {"selector", "namespaceSelector", "endpoints"}),
    "monitoring.coreos.com/v1 PodMonitor": (
        "podMetricsEndpoints",
        {"selector", "namespaceSelector", "podMetricsEndpoints"},
    ),
    "monitoring.coreos.com/v1 PrometheusRule": ("groups", {"groups"}),
    "gateway.networking.k8s.io/v1 HTTPRoute": ("rules", {"parentRefs", "hostnames", "rules"}),
    "kueue.x-k8s.io/v1beta2 LocalQueue": ("clusterQueue", {"clusterQueue"}),
    "cilium.io/v2 CiliumNetworkPolicy": ("egress", {"endpointSelector", "egress"}),
}
"""Of kinds that Kubernetes does not define: the field that must be there, and all that may be."""


@each_variant
def test_each_object_is_valid(values: Values, upgrade: bool) -> None:
    objects = render(values, upgrade=upgrade)

    assert len(objects) > 20
    for each in objects:
        _check(each)


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> Iterator[None]:
    # Each call of validate() parses the definitions of all kinds again: a megabyte.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents)
        )
        yield


def _check(each: Object) -> None:
    # Most objects are the same in most variants.
    _check_text(json.dumps(each, sort_keys=True))


@cache
def _check_text(text: str) -> None:
    each = json.loads(text)
    custom = CUSTOM.get(f"{each['apiVersion']} {each['kind']}")
    if custom is None:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
        return
    needed, allowed = custom
    assert each["metadata"]["name"]
    assert each["spec"][needed]
    assert set(each["spec"]) <= allowed


@each_profile
def test_names_are_unique_and_short_enough(values: Values, upgrade: bool) -> None:
    objects = render(values, upgrade=upgrade, release="a-release-with-the-longest-name-that-helm-does-allow")

    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 for _, _, name in names)


@each_variant
def test_every_object_says_whose_it_is(values: Values, upgrade: bool) -> None:
    for each in render(values, upgrade=upgrade):
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "temper"
        assert labels["app.kubernetes.io/instance"] == "temper"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/component"]
        assert labels["helm.sh/chart"].startswith("temper-")


CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "Namespace",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


@each_variant
def test_namespaces_are_those_of_the_release(values: Values, upgrade: bool) -> None:
    jobs = values.get("jobs", {}).get("namespace", {}).get("name") or f"{NAMESPACE}-jobs"
    endpoints = values.get("endpoints", {}).get("namespace", {}).get("name") or f"{NAMESPACE}-endpoints"

    for each in render(values, upgrade=upgrade):
        if each["kind"] in CLUSTER_WIDE:
            assert "namespace" not in each["metadata"]
        else:
            assert each["metadata"]["namespace"] in {NAMESPACE, jobs, endpoints}


@each_profile
def test_lint_finds_nothing(values: Values, upgrade: bool) -> None:
    report = helm_python.lint(CHART, values, strict=True, namespace=NAMESPACE, kube_version="v1.31.0")

    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []


@each_variant
def test_selectors_find_their_pods(values: Values, upgrade: bool) -> None:
    objects = render(values, upgrade=upgrade)
    labelled = [template["metadata"]["labels"] for _, template in pods(objects)]

    selectors = [each["spec"]["selector"] for each in of_kind(objects, "Service")]
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(objects, kind)]
    for selector in selectors:
        matching = [labels for labels in labelled if selector.items() <= labels.items()]
        assert len(matching) == 1, selector


@each_variant
def test_what_pods_mount_and_read_is_there(values: Values, upgrade: bool) -> None:
    """ConfigMaps, Secrets and accounts are the chart's own, or named in the values."""
    objects = render(values, upgrade=upgrade)
    named = str(values)
    claims = [each["spec"].get("volumeClaimTemplates", []) for each in of_kind(objects, "StatefulSet")]
    claimed = {claim["metadata"]["name"] for of_set in claims for claim in of_set}
    for name, template in pods(objects):
        spec = template["spec"]
        mounts = {m["name"] for c in _containers(spec) for m in c["volumeMounts"]}
        assert mounts <= {volume["name"] for volume in spec["volumes"]} | claimed, name
        assert _made(objects, "ServiceAccount", spec["serviceAccountName"])
        for kind, reference in _references(spec):
            assert _made(objects, kind, reference) or f"'{reference}'" in named, (name, kind, reference)


def _containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def _made(objects: list[Object], kind: str, name: str) -> bool:
    return any(each["metadata"]["name"] == name for each in of_kind(objects, kind))


def _references(spec: Object) -> list[tuple[str, str]]:
    found = []
    for volume in spec["volumes"]:
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            if "configMap" in source:
                found.append(("ConfigMap", source["configMap"]["name"]))
            if "secret" in source:
                found.append(("Secret", source["secret"].get("secretName") or source["secret"]["name"]))
    for container in _containers(spec):
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                found.append(("Secret", variable["valueFrom"]["secretKeyRef"]["name"]))
    return found


def test_a_new_setting_replaces_the_pods() -> None:
    def checksum(objects: list[Object], component: str) -> str:
        (deployment,) = of_kind(objects, "Deployment", component=component)
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/cluster"])

    before = render(profile_values("small"))
    after = render(profile_values("small", {"jobs": {"ttlSeconds": 7200}}))
    assert checksum(before, "reconciler") == checksum(render(profile_values("small")), "reconciler")
    for component in ("api", "reconciler", "broker"):
        assert checksum(before, component) != checksum(after, component)


def test_a_new_version_of_the_chart_alone_replaces_no_pod() -> None:
    for _, template in pods(render(profile_values("small"))):
        assert "helm.sh/chart" not in template["metadata"]["labels"] or template.get("kind") == "Pod"


def test_an_autoscaler_and_the_deployment_do_not_fight() -> None:
    objects = render(profile_values("production"))
    (deployment,) = of_kind(objects, "Deployment", component="api")
    (autoscaler,) = of_kind(objects, "HorizontalPodAutoscaler")

    assert "replicas" not in deployment["spec"]
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_production_has_no_single_point() -> None:
    objects = render(profile_values("production"))
    replicas = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"].get("replicas")
        for each in of_kind(objects, "Deployment")
    }
    (autoscaler,) = of_kind(objects, "HorizontalPodAutoscaler")

    assert autoscaler["spec"]["minReplicas"] >= 2
    assert replicas["reconciler"] >= 2
    assert replicas["broker"] >= 2
    assert {each["metadata"]["name"] for each in of_kind(objects, "PodDisruptionBudget")} == {
        "temper-api",
        "temper-reconciler",
        "temper-broker",
    }
    assert not of_kind(objects, "StatefulSet")


def test_drains_are_never_blocked_for_ever() -> None:
    for profile in ("small", "production", "multi-node"):
        for each in of_kind(render(profile_values(profile)), "PodDisruptionBudget"):
            assert each["spec"]["maxUnavailable"] == 1
            assert each["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_routes_lead_to_the_api_alone() -> None:
    ingress_values = {"ingress": {"enabled": True, "hosts": ["a.internal"]}}
    (ingress,) = of_kind(render(profile_values("small", ingress_values)), "Ingress")
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    route_values = {"httpRoute": {"enabled": True, "parentRefs": [{"name": "gw"}]}}
    (route,) = of_kind(render(profile_values("small", route_values)), "HTTPRoute")
    (rule,) = route["spec"]["rules"]

    assert path["path"] == "/v1"
    assert path["backend"]["service"] == {"name": "temper-api", "port": {"name": "http"}}
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1"}}]
    assert rule["backendRefs"] == [{"name": "temper-api", "port": 8000}]


def test_the_packaged_chart_renders_the_same(tmp_path: Path) -> None:
    archive = helm_python.package(CHART, destination=tmp_path)
    values = profile_values("production")
    with helm_python.Chart.load(archive) as chart:
        packed = chart.render(values, name="temper", namespace=NAMESPACE)
        files = {each["name"] for each in chart.files}

    found = [each for name, text in packed.items() if name.endswith(".yaml") for each in documents(text)]
    assert len(found) == len(render(values))
    assert {
        "README.md",
        "profiles/small.yaml",
        "profiles/production.yaml",
        "profiles/multi-node.yaml",
    } <= files


def test_chart_yaml_tells_artifact_hub_what_it_needs() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    annotations = {key.removeprefix("artifacthub.io/"): value for key, value in about["annotations"].items()}
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert about["type"] == "application"
    assert re.match(r">=1\.31", about["kubeVersion"])
    assert annotations["license"] == "Apache-2.0"
    assert annotations["operator"] == "false"
    assert {"category", "changes", "links"} <= set(annotations)
    images = {each["name"]: each["image"] for each in yaml.safe_load(annotations["images"])}
    assert images == {
        name: f"{image['repository']}:{image['tag'] or about['appVersion']}"
        for name, image in values["images"].items()
        if isinstance(image, dict)
    }
