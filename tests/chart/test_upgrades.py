"""What survives an upgrade: secrets that were made once, and the order of migrations and pods."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any

import helm_python
import pytest
from rendered_chart import CHART
from rendered_chart import NAMESPACE
from rendered_chart import RELEASE
from rendered_chart import Object
from rendered_chart import documents
from rendered_chart import of_kind
from rendered_chart import pods
from rendered_chart import profile_values
from rendered_chart import render
from served import served

PASSWORDS = {"temper-api-key": "api-key", "temper-postgresql": "password"}
SECRETS = {**PASSWORDS, "temper-signing-key": "signing-key.pem"}


class _Secrets(ThreadingHTTPServer):
    """As much of an API server as ``lookup`` of a Secret asks for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.held: dict[str, dict[str, str]] = {}


class _Handler(BaseHTTPRequestHandler):
    server: _Secrets

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        body = _DISCOVERY.get(path) or self._secret(path)
        data = json.dumps(
            body or {"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}
        ).encode()
        self.send_response(200 if body else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _secret(self, path: str) -> Object | None:
        name = path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/secrets/")
        if name not in self.server.held:
            return None
        metadata = {"name": name, "namespace": NAMESPACE}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": self.server.held[name]}

    def log_message(self, format: str, *args: Any) -> None:
        """Not to standard error."""


_DISCOVERY: dict[str, Object] = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {
                "name": "secrets",
                "singularName": "secret",
                "namespaced": True,
                "kind": "Secret",
                "verbs": ["get"],
            }
        ],
    },
}


@pytest.fixture
def cluster() -> Iterator[_Secrets]:
    with served(_Secrets()) as server:
        yield server


def _rendered(cluster: _Secrets, *, upgrade: bool) -> dict[str, dict[str, str]]:
    """The data of the chart's Secrets, as Helm renders them against a cluster."""
    server = f"http://127.0.0.1:{cluster.server_port}"
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    with (
        helm_python.Config(kubeconfig_content=json.dumps(kubeconfig), namespace=NAMESPACE) as config,
        helm_python.Chart.load(str(CHART)) as chart,
    ):
        files = config.render(
            chart,
            profile_values("small"),
            name=RELEASE,
            namespace=NAMESPACE,
            is_install=not upgrade,
            is_upgrade=upgrade,
        )
    objects = [each for name, text in files.items() if name.endswith(".yaml") for each in documents(text)]
    return {each["metadata"]["name"]: each["data"] for each in of_kind(objects, "Secret")}


def test_an_upgrade_changes_no_secret(cluster: _Secrets) -> None:
    made = _rendered(cluster, upgrade=False)
    cluster.held = made

    assert {name: set(data) for name, data in made.items()} == {name: {key} for name, key in SECRETS.items()}
    assert _rendered(cluster, upgrade=True) == made
    assert _rendered(cluster, upgrade=False) == made, "nor does an install that finds those of the one before"


def test_each_install_makes_secrets_of_its_own(cluster: _Secrets) -> None:
    first, second = _rendered(cluster, upgrade=False), _rendered(cluster, upgrade=False)

    assert first["temper-signing-key"] != second["temper-signing-key"]
    for name, key in PASSWORDS.items():
        one, other = (base64.b64decode(each[name][key]).decode() for each in (first, second))
        assert one != other
        assert len(one) == 48
        assert one.isalnum()


def test_a_secret_without_its_key_gets_one(cluster: _Secrets) -> None:
    cluster.held = {"temper-api-key": {"other": "eA=="}}

    assert len(_rendered(cluster, upgrade=True)["temper-api-key"]["api-key"]) == 64


def test_secrets_that_were_made_stay_after_an_uninstall() -> None:
    secrets = of_kind(render(profile_values("small")), "Secret")

    assert {each["metadata"]["name"] for each in secrets} == set(SECRETS)
    for each in secrets:
        assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_production_makes_no_secret() -> None:
    assert of_kind(render(profile_values("production")), "Secret") == []


def _migrations(upgrade: bool) -> list[Object]:
    return of_kind(render(profile_values("production"), upgrade=upgrade), "Job")


def _commands(job: Object) -> list[str]:
    spec = job["spec"]["template"]["spec"]
    return [" ".join(each["command"]) for each in [*spec.get("initContainers", []), *spec["containers"]]]


def test_an_upgrade_waits_for_the_schema_before_pods_and_tidies_it_after_them() -> None:
    hooks = {
        job["metadata"]["annotations"]["helm.sh/hook"]: _commands(job) for job in _migrations(upgrade=True)
    }

    assert hooks == {
        "pre-upgrade": ["python -m service migrate --phase pre"],
        "post-upgrade": ["python -m service migrate --phase post"],
    }


def test_a_failed_migration_is_left_to_be_looked_at() -> None:
    for job in _migrations(upgrade=True):
        policies = job["metadata"]["annotations"]["helm.sh/hook-delete-policy"].split(",")
        assert set(policies) == {"before-hook-creation", "hook-succeeded"}
        assert job["spec"]["activeDeadlineSeconds"] > 0
        assert job["spec"]["backoffLimit"] > 0


def test_an_install_migrates_in_no_hook() -> None:
    """A pre-install hook would wait for the database of the small profile, which comes after it."""
    (job,) = _migrations(upgrade=False)

    assert not [key for key in job["metadata"].get("annotations", {}) if key.startswith("helm.sh/hook")]
    assert _commands(job) == [
        "python -m service migrate --phase pre",
        "python -m service migrate --phase post",
    ]


def test_another_image_is_another_job_for_tools_that_only_apply() -> None:
    names = {
        job["metadata"]["name"]
        for tag in ("1", "2", "2")
        for job in of_kind(render(profile_values("small", {"images": {"api": {"tag": tag}}})), "Job")
    }

    assert len(names) == 2


def test_what_a_hook_needs_is_there_before_it() -> None:
    """Accounts and policies of the release before are; what only hooks use comes with them, in order."""
    objects = render(profile_values("small"), upgrade=True)
    for each in objects:
        hook = each["metadata"].get("annotations", {}).get("helm.sh/hook")
        if hook == "test" and each["kind"] != "Pod":
            assert int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
    for name, template in pods(objects):
        if "migrate" in name:
            account = template["spec"]["serviceAccountName"]
            assert account in {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")}


def test_pods_are_replaced_without_a_gap() -> None:
    objects = render(profile_values("production"))
    for each in of_kind(objects, "Deployment"):
        assert each["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    for component in ("api", "broker"):
        (deployment,) = of_kind(objects, "Deployment", component=component)
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5
        assert spec["terminationGracePeriodSeconds"] > 5 + 10
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_migration_can_be_left_to_the_operator() -> None:
    for upgrade in (False, True):
        objects = render(profile_values("small", {"migration": {"enabled": False}}), upgrade=upgrade)
        assert of_kind(objects, "Job") == []
