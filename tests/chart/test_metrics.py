"""Alerts and dashboard are about metrics that exist, and are written as Prometheus and Grafana read them."""

import ast
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendered_chart import Object
from rendered_chart import of_kind
from rendered_chart import profile_values
from rendered_chart import render

ROOT = Path(__file__).parents[2]
TYPES = {"Counter", "Gauge", "Histogram", "Summary"}
VLLM = {
    "vllm:generation_tokens_total": {"model_name"},
    "vllm:inter_token_latency_seconds_bucket": {"model_name", "le"},
    "vllm:kv_cache_usage_perc": {"model_name"},
    "vllm:num_requests_running": {"model_name"},
    "vllm:num_requests_waiting": {"model_name"},
    "vllm:time_to_first_token_seconds_bucket": {"model_name", "le"},
}
"""Of vLLM 0.32, as its /metrics names them; :func:`test_the_metrics_of_vllm_are_those_of_its_code` looks them up."""
SCRAPED = {"namespace", "service", "pod", "job", "instance"}
"""Labels that Prometheus itself adds."""


@cache
def our_metrics() -> dict[str, set[str]]:
    """Names as they are scraped and their labels, from the calls in the source that make them."""
    found: dict[str, set[str]] = {"up": set()}
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            # collections.Counter() counts as well, but takes no name.
            if isinstance(node, ast.Call) and ast.unparse(node.func) in TYPES and _named(node):
                name = ast.literal_eval(node.args[0])
                labels = set(ast.literal_eval(node.args[2])) if len(node.args) > 2 else set()
                found |= _series(ast.unparse(node.func), name, labels)
    return found


def _named(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant)


def _series(kind: str, name: str, labels: set[str]) -> dict[str, set[str]]:
    if kind == "Counter":
        return {name.removesuffix("_total") + "_total": labels}
    if kind == "Histogram":
        return {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
    return {name: labels}


@cache
def rules() -> list[Object]:
    values = {"metrics": {"rules": {"enabled": True, "alertLabels": {"team": "a"}}}}
    (rule,) = of_kind(render(profile_values("small", values)), "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    return list(group["rules"])


@cache
def dashboard() -> Any:
    values = {"metrics": {"dashboard": {"enabled": True}}}
    found = [
        each
        for each in of_kind(render(profile_values("small", values)), "ConfigMap")
        if "temper.json" in each["data"]
    ]
    (config,) = found
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    return json.loads(config["data"]["temper.json"])


def expressions() -> list[str]:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    return [rule["expr"] for rule in rules()] + [
        each["expr"] for panel in panels for each in panel["targets"]
    ]


SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")


@pytest.mark.parametrize(
    "expression", [pytest.param(each, id=str(n)) for n, each in enumerate(expressions())]
)
def test_an_expression_asks_for_metrics_and_labels_that_exist(expression: str) -> None:
    known = our_metrics() | VLLM
    selected = SELECTOR.findall(expression)

    assert selected
    for metric, matchers in selected:
        assert metric in known, metric
        labels = {matcher.partition("=")[0].rstrip("!") for matcher in matchers.split(",")}
        assert labels <= known[metric] | SCRAPED, (metric, labels)
        assert "namespace" in labels
    of_all = set().union(*(known[metric] for metric, _ in selected)) | SCRAPED
    for by in re.findall(r"by \(([^)]*)\)", expression):
        assert {label.strip() for label in by.split(",")} <= of_all
    assert set(re.findall(r"\b(?:temper|vllm)[_:][a-z_]+", expression)) <= {metric for metric, _ in selected}
    assert expression.count("(") == expression.count(")")


def test_the_metrics_of_vllm_are_those_of_its_code() -> None:
    vllm = pytest.importorskip("importlib.util").find_spec("vllm")
    if vllm is None:
        pytest.skip("vLLM is not installed")
    source = "".join(path.read_text() for path in (Path(vllm.origin).parent / "v1" / "metrics").glob("*.py"))
    for name in VLLM:
        base = name.removesuffix("_bucket").removesuffix("_total")
        assert f'"{base}"' in source, name


def test_every_metric_of_ours_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = " ".join(expressions())
    names = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in our_metrics()}

    assert {name for name in names if name not in asked} == set()


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in rules()])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: Object) -> None:
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["labels"]["team"] == "a"
    assert re.fullmatch(r"[0-9]+(m|h)", rule["for"])
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"]) > 40
    for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
        assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"])


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian's package prometheus) is not installed")
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "temper", "rules": rules()}]}))

    checked = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    board = dashboard()
    panels = board["panels"]
    variables = {each["name"] for each in board["templating"]["list"]}

    assert board["uid"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) - {"__rate_interval"}
    assert used == variables == {"datasource", "namespace", "endpoints_namespace"}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
    cells = [(x, y) for panel in panels for x, y in _cells(panel["gridPos"])]
    assert len(set(cells)) == len(cells), "panels lie over each other"


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    return [
        (x, y)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]


def test_monitors_find_the_ports() -> None:
    values = {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}
    objects = render(profile_values("small", values))
    (services,) = of_kind(objects, "ServiceMonitor")
    (pods,) = of_kind(objects, "PodMonitor")

    selector = services["spec"]["selector"]
    (expression,) = selector["matchExpressions"]
    found = [
        each["metadata"]["name"]
        for each in of_kind(objects, "Service")
        if selector["matchLabels"].items() <= each["metadata"]["labels"].items()
        and each["metadata"]["labels"][expression["key"]] in expression["values"]
        and services["spec"]["endpoints"][0]["port"] in {port["name"] for port in each["spec"]["ports"]}
    ]
    assert sorted(found) == ["temper-api", "temper-broker", "temper-reconciler"]
    assert pods["spec"]["namespaceSelector"] == {"matchNames": ["ml-endpoints"]}
    assert pods["spec"]["podMetricsEndpoints"][0]["portNumber"] == 8000
