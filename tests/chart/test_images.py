"""An install without a way out: every image can be named by registry and digest, and nothing names a host."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from rendered_chart import CHART
from rendered_chart import DIGEST
from rendered_chart import Object
from rendered_chart import Values
from rendered_chart import documents
from rendered_chart import merged
from rendered_chart import notes
from rendered_chart import of_kind
from rendered_chart import pods
from rendered_chart import profile_values
from rendered_chart import render
from rendered_chart import variants

IMAGES = ("api", "trainer", "vllm", "postgresql")
each_profile = pytest.mark.parametrize(
    ("values", "upgrade"),
    [pytest.param(values, upgrade, id=name) for name, values, upgrade in variants()][:5],
)


def used_images(objects: list[Object]) -> set[str]:
    """By pods of the chart, and by pods that the reconciler makes."""
    (config,) = [
        each["data"]["cluster.yaml"]
        for each in of_kind(objects, "ConfigMap")
        if "cluster.yaml" in each["data"]
    ]
    (cluster,) = documents(config)
    found = {cluster["jobs"]["image"], cluster["endpoints"]["image"], cluster["endpoints"]["fetch_image"]}
    for _, template in pods(objects):
        spec = template["spec"]
        found |= {container["image"] for container in [*spec.get("initContainers", []), *spec["containers"]]}
    return found


@each_profile
def test_every_image_is_one_that_the_values_name(values: Values, upgrade: bool) -> None:
    renamed = {name: {"repository": f"renamed/{name}", "digest": DIGEST} for name in IMAGES}
    objects = render(
        merged(values, {"images": renamed, "global": {"imageRegistry": "r.internal:5000/ml"}}),
        upgrade=upgrade,
    )

    assert used_images(objects) <= {f"r.internal:5000/ml/renamed/{name}@{DIGEST}" for name in IMAGES}


def test_an_images_own_registry_wins() -> None:
    values = {"global": {"imageRegistry": "a.internal"}, "images": {"vllm": {"registry": "b.internal/x/"}}}
    images = used_images(render(profile_values("small", values)))

    assert {
        "b.internal/x/vllm/vllm-openai:v0.32.0",
        "a.internal/temper-api:0.1.0",
        "a.internal/postgres:17",
    } <= images


@each_profile
def test_pull_secrets_reach_every_pod(values: Values, upgrade: bool) -> None:
    objects = render(merged(values, {"global": {"imagePullSecrets": ["one", "two"]}}), upgrade=upgrade)
    (config,) = [
        each["data"]["cluster.yaml"]
        for each in of_kind(objects, "ConfigMap")
        if "cluster.yaml" in each["data"]
    ]
    (cluster,) = documents(config)

    for name, template in pods(objects):
        assert template["spec"]["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}], name
    assert cluster["jobs"]["image_pull_secrets"] == ["one", "two"]
    assert cluster["endpoints"]["image_pull_secrets"] == ["one", "two"]


def test_no_default_names_a_registry() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    assert defaults["global"]["imageRegistry"] == ""
    for name in IMAGES:
        image = defaults["images"][name]
        assert image["registry"] == ""
        first = image["repository"].partition("/")[0]
        assert not set(first) & {".", ":"}
        assert first != "localhost"


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)
    elif isinstance(node, str):
        yield node


def test_no_value_of_a_profile_names_a_host() -> None:
    files = [CHART / "values.yaml", *sorted((CHART / "profiles").glob("*.yaml"))]
    labels = {"nvidia.com/gpu", "nvidia.com/gpu.product"}
    for file in files:
        for text in set(_strings(yaml.safe_load(file.read_text()))) - labels:
            assert not re.search(r"[a-z0-9-]+\.(com|org|net|io|dev|cloud|ai)\b|://", text), (file.name, text)


def test_pods_are_sent_to_no_host_but_those_of_the_values() -> None:
    hosts = set()
    for values in (profile_values("small"), profile_values("production")):
        for each in render(values):
            if each["kind"] in {
                "ConfigMap",
                "Deployment",
                "Job",
                "StatefulSet",
                "Pod",
            } and "smoke" not in str(each.get("data")):
                hosts |= set(
                    re.findall(r"\w+://(?:[^/\s\"'@]+@)?([^/\s\"':]+)", str(_without_dashboard(each)))
                )

    ours = {"temper-broker.ml.svc", "temper-api.ml.svc", "temper-postgresql"}
    assert hosts == ours | {"s3.internal", "db.internal", "models"}  # models: the bucket of s3://models


def _without_dashboard(each: Object) -> Object:
    return {} if "temper.json" in each.get("data", {}) else each


@pytest.mark.parametrize("name", ["api", "trainer", "vllm"])
def test_m3_production_refuses_a_tag(name: str) -> None:
    with pytest.raises(Exception, match=rf"images\.{name}\.digest"):
        render(profile_values("production", {"images": {name: {"digest": "", "tag": "1"}}}))


def test_the_unused_databases_image_needs_no_digest() -> None:
    assert render(profile_values("production"))
    assert "images.postgresql" not in notes(profile_values("production"))
    with pytest.raises(Exception, match=r"images\.postgresql\.digest"):
        render(profile_values("small", {"images": {"requireDigests": True}}))
