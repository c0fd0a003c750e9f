"""Values: what is refused and how it is said, and that each one is documented."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import helm_python
import pytest
import yaml
from rendered_chart import CHART
from rendered_chart import NAMESPACE
from rendered_chart import Values
from rendered_chart import merged
from rendered_chart import notes
from rendered_chart import profile_values
from rendered_chart import render


def _nested(key: str, value: Any) -> Values:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("database.prot", 5432),
        ("apiKeys", {}),
        ("jobs.training.gpu", 1),
        ("images.api.Digest", "x"),
        ("api.autoscaling.maxreplicas", 3),
        ("networkPolicy.allow", True),
    ],
)
def test_l8_an_unknown_key_is_refused_by_its_name(key: str, value: Any) -> None:
    above, _, name = key.rpartition(".")
    with pytest.raises(helm_python.HelmError) as caught:
        render(profile_values("small", _nested(key, value)))

    said = str(caught.value)
    assert f"'{name}' not allowed" in said
    assert f"at '{'/' * bool(above)}{above.replace('.', '/')}'" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api.replicas", "two"),
        ("api.replicas", 0),
        ("api.resources.requests.cpu", "much"),
        ("api.resources.limits.memory", "1 Gi"),
        ("api.service.type", "External"),
        ("api.podDisruptionBudget.maxUnavailable", "all"),
        ("api.terminationGracePeriodSeconds", 0),
        ("api.extraEnv", {"A": "b"}),
        ("api.nodeSelector", {"gpu": True}),
        ("apiKey.key", "a key"),
        ("broker.ca", "not a certificate"),
        ("broker.url", "broker:8002"),
        ("database.host", "postgresql://db"),
        ("database.port", "5432"),
        ("database.port", 70000),
        ("database.sslMode", "yes"),
        ("database.development.storage.size", "ten"),
        ("endpoints.autoscaler", "vpa"),
        ("endpoints.command", []),
        ("endpoints.gpus", -1),
        ("global.imagePullSecrets", "one"),
        ("global.imageRegistry", "https://registry.internal"),
        ("gpu.resource", ""),
        ("httpRoute.requestTimeout", "long"),
        ("images.api.digest", "sha256:abc"),
        ("images.api.repository", "Temper API"),
        ("images.pullPolicy", "Sometimes"),
        ("jobs.environment", {"A": 1}),
        ("jobs.environment", {"A-B": "1"}),
        ("jobs.graceSeconds", 0),
        ("jobs.namespace.name", "My_Jobs"),
        ("jobs.queue", "Q!"),
        ("jobs.scanning.shm", "256MB"),
        ("jobs.training.memory", "lots"),
        ("jobs.training.gpus", 17),
        ("jobs.ttlSeconds", 1),
        ("limits.tokensPerDay", -1),
        ("limits.gpuHours", "many"),
        ("audit.days", 0),
        ("metrics.serviceMonitor.interval", "often"),
        ("networkPolicy.api.from", [{"ipBlocks": {}}]),
        ("networkPolicy.dns.to", []),
        ("networkPolicy.kubernetesApi.ports", []),
        ("objectStore.addressing", "subdomain"),
        ("objectStore.bucket", "My_Bucket"),
        ("objectStore.bucketOwner", "12345"),
        ("objectStore.endpoint", "s3.internal:9000"),
        ("objectStore.partBytes", 1),
        ("objectStore.sse", "DES"),
        ("podSecurity.runAsUser", 0),
        ("priorityClasses.jobs.value", 2_000_000_000),
        ("scratch.tmp", "20 GB"),
        ("settings.host", "everywhere"),
        ("settings.logLevel", "loud"),
        ("settings.maxAttempts", 0),
        ("settings.maxEndpoints", True),
        ("tests.timeoutSeconds", "ten"),
    ],
)
def test_l8_a_bad_value_is_refused_by_its_key(key: str, value: Any) -> None:
    with pytest.raises(helm_python.HelmError) as caught:
        render(profile_values("small", _nested(key, value)))

    assert f"at '/{key.replace('.', '/')}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"objectStore": {"bucket": ""}}, "objectStore.bucket"),
        ({"database": {"host": "db.internal"}}, "database.development.enabled"),
        ({"database": {"development": {"enabled": False}}}, "database.existingSecret"),
        (
            {"database": {"development": {"enabled": False}, "existingSecret": "db"}},
            "database.host",
        ),
        ({"ingress": {"enabled": True}}, "ingress.hosts"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
        ({"endpoints": {"autoscaler": "keda"}}, "endpoints.prometheusUrl"),
        ({"jobs": {"localQueue": {"create": True}, "queue": "q"}}, "jobs.localQueue.clusterQueue"),
        ({"jobs": {"localQueue": {"create": True, "clusterQueue": "c"}}}, "jobs.queue"),
        ({"jobs": {"namespace": {"name": NAMESPACE}}}, "jobs.namespace.name"),
        (
            {"jobs": {"namespace": {"name": "one"}}, "endpoints": {"namespace": {"name": "one"}}},
            "endpoints.namespace.name",
        ),
        ({"broker": {"ca": "-----BEGIN CERTIFICATE-----", "caConfigMap": "ca"}}, "broker.caConfigMap"),
        ({"broker": {"tls": {"existingSecret": "t"}, "url": "http://b"}}, "broker.url"),
        ({"objectStore": {"kmsKeyId": "k"}}, "objectStore.kmsKeyId"),
        ({"images": {"requireDigests": True}}, "images.api.digest"),
        ({"webhooks": {"hosts": ["hooks.example.com"]}}, "webhooks.existingSecret"),
    ],
)
def test_values_that_do_not_go_together_are_refused_by_their_keys(change: Values, named: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=re.escape(named)):
        render(profile_values("small", change))


def test_everything_that_is_missing_is_said_at_once() -> None:
    file = yaml.safe_load((CHART / "profiles" / "production.yaml").read_text())
    with pytest.raises(helm_python.HelmRenderError) as caught:
        render(file)

    for key in (
        "database.host",
        "objectStore.bucket",
        "images.api.digest",
        "images.trainer.digest",
        "images.vllm.digest",
        "networkPolicy.database.to",
        "networkPolicy.objectStore.to",
        "networkPolicy.kubernetesApi.to",
    ):
        assert key in str(caught.value)


def _schema_keys(node: dict[str, Any], definitions: dict[str, Any], above: str = "") -> set[str]:
    node = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    found: set[str] = set()
    for name, child in node.get("properties", {}).items():
        found |= {f"{above}{name}"} | _schema_keys(child, definitions, f"{above}{name}.")
    return found


def _keys(node: Any, above: str = "") -> set[str]:
    found: set[str] = set()
    for name, child in node.items() if isinstance(node, dict) else ():
        found |= {f"{above}{name}"} | _keys(child, f"{above}{name}.")
    return found


def test_schema_and_values_have_the_same_keys() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    free = re.compile(r"(.*resources\.(requests|limits)|metrics\.dashboard\.labels)\..*")

    ours = {key for key in _keys(values) if not free.fullmatch(key)}
    assert _schema_keys(schema, schema["definitions"]) == ours


def _objects(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for each in node for found in _objects(each)]
    if not isinstance(node, dict):
        return []
    own = [node] if node.get("type") == "object" and "properties" in node else []
    return own + [found for each in node.values() for found in _objects(each)]


def test_every_object_of_the_schema_that_names_its_keys_is_closed() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = _objects(schema)

    assert len(found) > 40
    assert all(each["additionalProperties"] is False for each in found)


@pytest.fixture(scope="module")
def value_table() -> ModuleType:
    path = CHART.parent / "value_table.py"
    specification = importlib.util.spec_from_file_location("value_table", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["value_table"] = module  # where its dataclass looks for itself
    specification.loader.exec_module(module)
    return module


def test_the_table_of_values_is_fresh(value_table: ModuleType) -> None:
    readme = (CHART / "README.md").read_text()
    rows = value_table.table(value_table.read_values((CHART / "values.yaml").read_text()))

    assert value_table.with_table(readme, rows) == readme, "run python helm/value_table.py"


def test_the_table_has_every_value_and_no_comment_is_lost(value_table: ModuleType) -> None:
    text = (CHART / "values.yaml").read_text()
    rows = value_table.read_values(text)
    defaults = yaml.safe_load(text)

    assert len(rows) == text.count("# -- ")
    for row in rows:
        found = defaults
        for part in row.key.split("."):
            found = found[part]
        assert found == row.default
        assert row.text.endswith("."), row.key


def test_a_value_without_a_comment_is_named(value_table: ModuleType) -> None:
    with pytest.raises(value_table.TableError, match=r"^a\.c has no comment"):
        value_table.read_values("a:\n  # -- One.\n  b: 1\n  c: 2\n")


def test_a_stale_table_is_told(
    value_table: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "values.yaml").write_text("# -- One,\n# over two lines | and a bar.\none: 1\n")
    (tmp_path / "README.md").write_text(f"before\n{value_table.BEGIN}old\n{value_table.END}after\n")
    monkeypatch.setattr(value_table, "CHART", tmp_path)

    assert value_table.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert value_table.main([]) == 0
    assert "| `one` | `1` | One, over two lines \\| and a bar. |" in (tmp_path / "README.md").read_text()
    assert value_table.main(["--check"]) == 0


@pytest.mark.parametrize("profile", ["small", "production", "multi-node"])
def test_a_profile_sets_nothing_to_its_default(profile: str) -> None:
    """Whatever it says, it says for a reason; empty places that are to be filled are marked by being empty."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    file = yaml.safe_load((CHART / "profiles" / f"{profile}.yaml").read_text())

    assert _same(file, defaults) <= {
        "images.api.digest",
        "images.trainer.digest",
        "images.vllm.digest",
        "database.host",
        "database.sslMode",
        "objectStore.bucket",
        "networkPolicy.database.to",
        "networkPolicy.objectStore.to",
        "networkPolicy.kubernetesApi.to",
        "networkPolicy.multiNode.enabled",
        "endpoints.maxGpus",
        "reconciler.replicas",
    }


def _same(node: Any, default: Any, above: str = "") -> set[str]:
    if isinstance(node, dict) and isinstance(default, dict) and default:
        return {
            each for key in node for each in _same(node[key], default.get(key), f"{above}.{key}".lstrip("."))
        }
    return {above} if node == default else set()


def test_the_notes_say_what_to_do_next() -> None:
    said = notes(profile_values("small"))

    assert "helm test temper -n ml --logs" in said
    assert "kubectl -n ml get secret temper-api-key -o jsonpath='{.data.api-key}'" in said
    assert "kubectl -n ml port-forward service/temper-api 8000:8000" in said
    for path in ("/v1/files", "/v1/base_models", "/v1/fine_tuning/jobs"):
        assert f"$TEMPER_URL{path}" in said
    assert "s3://models/" in said


@pytest.mark.parametrize(
    ("profile", "change", "warned"),
    [
        ("small", {}, "FOR DEVELOPMENT ONLY"),
        ("small", {}, "images.api is named by a tag"),
        ("small", {}, "allowAnyAddress is on"),
        ("small", {"networkPolicy": {"enabled": False}}, "networkPolicy.enabled is off"),
        ("small", {"ingress": {"enabled": True, "hosts": ["a.internal"]}}, "networkPolicy.api.from is empty"),
        ("small", {"metrics": {"podMonitor": {"enabled": True}}}, "networkPolicy.metrics.from is empty"),
        ("small", {"migration": {"enabled": False}}, "migration.enabled is off"),
        ("production", {}, "plain HTTP"),
        ("small", {"objectStore": {"ca": {"secret": "s3-ca"}}}, "objectStore.ca is set and neither"),
    ],
)
def test_the_notes_warn(profile: str, change: Values, warned: str) -> None:
    assert warned in notes(profile_values(profile, change))


def test_a_closed_production_is_warned_of_nothing() -> None:
    tls = {"broker": {"tls": {"existingSecret": "tls"}, "ca": "-----BEGIN CERTIFICATE-----"}}

    assert "WARNINGS" not in notes(merged(profile_values("production"), tls))
