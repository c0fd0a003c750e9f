"""Every pod is one that Pod Security "restricted" admits, and more: no token, no root file system to write to."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from pod_security import violations
from rendered_chart import FEATURES
from rendered_chart import Object
from rendered_chart import Values
from rendered_chart import of_kind
from rendered_chart import pods
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

each_variant = pytest.mark.parametrize(
    ("values", "upgrade"), [pytest.param(values, upgrade, id=name) for name, values, upgrade in variants()]
)
FINE: Object = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "one",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


@each_variant
def test_l7_every_pod_is_restricted(values: Values, upgrade: bool) -> None:
    found = pods(render(values, upgrade=upgrade))

    assert len(found) >= 4
    for name, template in found:
        assert violations(template["spec"]) == [], name


@each_variant
def test_no_pod_can_write_to_its_image_or_is_told_of_services(values: Values, upgrade: bool) -> None:
    for name, template in pods(render(values, upgrade=upgrade)):
        spec = template["spec"]
        assert spec["enableServiceLinks"] is False, name
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
        for volume in spec["volumes"]:
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], name


@each_variant
def test_only_who_asks_the_api_server_has_its_token(values: Values, upgrade: bool) -> None:
    objects = render(values, upgrade=upgrade)
    accounts = {each["metadata"]["name"]: each for each in of_kind(objects, "ServiceAccount")}
    holders = {
        name
        for name, template in pods(objects)
        if template["spec"]["automountServiceAccountToken"]
        or accounts[template["spec"]["serviceAccountName"]]["automountServiceAccountToken"]
    }

    assert holders == {"Deployment/temper-reconciler", "Deployment/temper-broker"}
    assert accounts["temper-job"]["automountServiceAccountToken"] is False
    assert accounts["temper-endpoint"]["automountServiceAccountToken"] is False


@each_variant
def test_pods_of_different_work_have_different_accounts(values: Values, upgrade: bool) -> None:
    used = [
        (
            template["spec"]["serviceAccountName"],
            template["metadata"]["labels"]["app.kubernetes.io/component"],
        )
        for _, template in pods(render(values, upgrade=upgrade))
    ]

    assert len({account for account, _ in used}) == len(set(used))


@each_variant
def test_the_namespaces_that_are_made_enforce_it(values: Values, upgrade: bool) -> None:
    for each in of_kind(render(values, upgrade=upgrade), "Namespace"):
        assert each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_label_of_a_namespace_loosens_it() -> None:
    loose = {"jobs": {"namespace": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}}

    with pytest.raises(Exception, match=r"jobs\.namespace\.labels"):
        render(profile_values("small", loose))


@pytest.fixture
def cluster(tmp_path: Path) -> Callable[[Values], ClusterSettings]:
    def read(values: Values) -> ClusterSettings:
        (config,) = [
            each["data"]["cluster.yaml"]
            for each in of_kind(render(values), "ConfigMap")
            if "cluster.yaml" in each["data"]
        ]
        path = tmp_path / "cluster.yaml"
        path.write_text(config)
        return read_cluster_settings(path)

    return read


@pytest.mark.parametrize("feature", ["placed", "certificates", "air gap"])
def test_l7_what_the_reconciler_makes_of_the_settings_is_restricted_too(
    feature: str, cluster: Callable[[Values], ClusterSettings]
) -> None:
    profile, change = FEATURES[feature]
    settings = cluster(profile_values(profile, change))
    order = Launch(
        name="harden-a1-1",
        spec_uri=f"s3://models/team/a/{spec_key('ftjob-a1', 1)}",
        spec_sha256="0" * 64,
        deadline_s=60,
    )
    serve = Serve(name="ep-a1", model_id="m", weights_uri="s3://models/team/a/w/", files=())
    job = job_manifest(order, settings)
    made = manifests(serve, settings, order_uri="s3://models/team/a/order", order_sha256="0" * 64)

    for each in (job, made.deployment):
        kubernetes_validate.validate(each, "1.36", strict=True)
        assert violations(each["spec"]["template"]["spec"]) == []
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "temper"


def _changed(change: Callable[[Any], object]) -> Object:
    spec = copy.deepcopy(FINE)
    change(spec)
    return spec


@pytest.mark.parametrize(
    ("named", "change"),
    [
        ("hostNetwork", lambda s: s.update(hostNetwork=True)),
        ("hostPID", lambda s: s.update(hostPID=True)),
        ("hostIPC", lambda s: s.update(hostIPC=True)),
        ("sysctls", lambda s: s["securityContext"].update(sysctls=[{"name": "kernel.msgmax", "value": "1"}])),
        ("hostPath", lambda s: s["volumes"].append({"name": "h", "hostPath": {"path": "/"}})),
        ("runAsUser", lambda s: s["securityContext"].update(runAsUser=0)),
        ("runAsNonRoot", lambda s: s["securityContext"].pop("runAsNonRoot")),
        ("runAsNonRoot", lambda s: s["containers"][0]["securityContext"].update(runAsNonRoot=False)),
        ("seccompProfile", lambda s: s["securityContext"].pop("seccompProfile")),
        ("seccompProfile", lambda s: s["securityContext"].update(seccompProfile={"type": "Unconfined"})),
        (
            "appArmorProfile",
            lambda s: s["containers"][0]["securityContext"].update(appArmorProfile={"type": "Unconfined"}),
        ),
        ("seLinuxOptions", lambda s: s["securityContext"].update(seLinuxOptions={"type": "spc_t"})),
        ("hostProcess", lambda s: s["securityContext"].update(windowsOptions={"hostProcess": True})),
        ("capabilities.drop", lambda s: s["containers"][0]["securityContext"].pop("capabilities")),
        (
            "capabilities.add",
            lambda s: s["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
        ),
        (
            "allowPrivilegeEscalation",
            lambda s: s["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        ),
        ("privileged", lambda s: s["containers"][0]["securityContext"].update(privileged=True)),
        ("procMount", lambda s: s["containers"][0]["securityContext"].update(procMount="Unmasked")),
        ("hostPort", lambda s: s["containers"][0].update(ports=[{"containerPort": 1, "hostPort": 1}])),
        (
            "readinessProbe.host",
            lambda s: s["containers"][0].update(readinessProbe={"httpGet": {"host": "a"}}),
        ),
        (
            "preStop.host",
            lambda s: s["containers"][0].update(lifecycle={"preStop": {"httpGet": {"host": "a"}}}),
        ),
    ],
)
def test_l7_the_check_sees_each_violation(named: str, change: Callable[[Any], object]) -> None:
    assert violations(FINE) == []
    assert any(named in found for found in violations(_changed(change)))


def test_init_containers_are_looked_at_too() -> None:
    assert violations({**FINE, "initContainers": [{"name": "two"}]}) != []
