"""The objects of an endpoint, read as the API server and its policies would read them."""

import copy
import json
from typing import Any

import kubernetes_validate
import pytest
from cluster_settings import cluster_settings

from deploy.contract.document import StoredFile
from deploy.contract.resources import Resources
from deploy.endpoint.kubernetes import change_of
from deploy.endpoint.protocol import EndpointRefused
from deploy.endpoint.protocol import Serve
from deploy.endpoint.serving_manifest import KEYS
from deploy.endpoint.serving_manifest import Manifests
from deploy.endpoint.serving_manifest import keys_hash
from deploy.endpoint.serving_manifest import manifests
from deploy.endpoint.serving_manifest import settings_hash
from deploy.evidence.policy import Trust
from deploy.kubernetes.kinds import DEPLOYMENTS
from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.settings import ClusterSettingsError
from deploy.kubernetes.settings import EndpointSettings
from deploy.kubernetes.settings import read_cluster_settings
from tests.stand_ins.kubernetes_api import merge

VERSION = "1.36"
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
"""That Pod Security "restricted" allows."""


def settings(**endpoints: Any) -> ClusterSettings:
    plain = cluster_settings()
    changed = EndpointSettings.model_validate({**plain.endpoints.model_dump(), **endpoints})
    return plain.model_copy(update={"endpoints": changed})


def order(**given: Any) -> Serve:
    files = (StoredFile(name="model.safetensors", size_bytes=1 << 30, sha256="0" * 64),)
    return Serve(
        **{"name": "ep-a1", "model_id": "ft:tiny:x", "weights_uri": "s3://b/m/", "files": files, **given}
    )


def made(given: Serve | None = None, by: ClusterSettings | None = None) -> Manifests:
    return manifests(
        given or order(),
        by or settings(),
        order_uri="s3://b/endpoints/ep-a1/order.json",
        order_sha256="a" * 64,
    )


def by_kind(found: Manifests) -> dict[str, Any]:
    return {manifest["kind"]: manifest for _, manifest in found.others} | {"Deployment": found.deployment}


def pod(found: Manifests) -> dict[str, Any]:
    spec: dict[str, Any] = found.deployment["spec"]["template"]["spec"]
    return spec


ORDERS = {
    "plain": (order(), settings()),
    "scaled": (order(replicas=2, max_replicas=5), settings(autoscaler="hpa")),
    "keda": (
        order(replicas=1, max_replicas=3),
        settings(autoscaler="keda", prometheus_url="http://prometheus:9090"),
    ),
    "no gpu": (order(resources=Resources(gpus=0, cpus=2, memory_gib=3), max_model_len=512), settings()),
    "placed": (
        order(resources=Resources(gpus=4, gpu_type="NVIDIA-H100")),
        settings(
            placement={
                "node_selector": {"pool": "gpus"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "affinity": {"podAntiAffinity": {}},
                "priority_class": "high",
                "runtime_class": "nvidia",
            },
            image_pull_secrets=("pull",),
        ).model_copy(update={"broker_ca_config_map": "broker-ca"}),
    ),
}


@pytest.mark.parametrize("which", ORDERS)
def test_every_object_is_valid(which: str) -> None:
    found = by_kind(made(*ORDERS[which]))
    known = {kind: manifest for kind, manifest in found.items() if kind != "ScaledObject"}
    assert {"Deployment", "Service"} <= known.keys()
    for manifest in known.values():
        kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("which", ORDERS)
def test_e17_the_pod_is_restricted(which: str) -> None:
    spec = pod(made(*ORDERS[which]))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] != 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]} <= VOLUMES - {"secret"}
    for container in (*spec["initContainers"], *spec["containers"]):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert all("hostPort" not in port for port in container.get("ports", []))


@pytest.mark.parametrize("which", ORDERS)
def test_only_the_init_container_holds_a_token_and_only_for_the_broker(which: str) -> None:
    given, by = ORDERS[which]
    spec = pod(made(given, by))
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    [token] = [
        source["serviceAccountToken"]
        for volume in spec["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    ]
    assert token["audience"] == by.broker_audience
    [fetch], [vllm] = spec["initContainers"], spec["containers"]
    holders = [
        each["name"]
        for each in (fetch, vllm)
        if any(mount["name"] in {"token", "ca"} for mount in each["volumeMounts"])
    ]
    assert holders == ["fetch"]
    assert all("valueFrom" not in variable for variable in vllm["env"])
    assert not [variable for variable in vllm["env"] if variable["name"].startswith(("TEMPER_", "AWS_"))]
    names = {variable["name"] for variable in fetch["env"]}
    assert {"TEMPER_BROKER_URL", "TEMPER_BROKER_TOKEN_FILE", "TEMPER_POD"} <= names
    assert ("TEMPER_BROKER_CA_FILE" in names) is (by.broker_ca_config_map is not None)


def test_weights_can_be_read_by_the_server_and_written_by_the_init_container() -> None:
    [fetch], [vllm] = pod(made())["initContainers"], pod(made())["containers"]
    mounts = {mount["name"]: mount for mount in vllm["volumeMounts"]}
    assert mounts["model"]["readOnly"] is True
    assert not next(mount for mount in fetch["volumeMounts"] if mount["name"] == "model").get("readOnly")
    assert fetch["args"] == [
        "--order",
        "s3://b/endpoints/ep-a1/order.json",
        "--sha256",
        "a" * 64,
        "--directory",
        "/model",
    ]
    shm = next(volume for volume in pod(made())["volumes"] if volume["name"] == "shm")
    assert shm["emptyDir"]["medium"] == "Memory"


def test_the_server_is_vllm_with_our_flags() -> None:
    [vllm] = pod(made(order(resources=Resources(gpus=4), max_model_len=512)))["containers"]
    assert vllm["command"] == ["vllm", "serve"]
    arguments = vllm["args"]
    assert arguments[0] == "/model/weights"
    for flag, value in {
        "--served-model-name": "ft:tiny:x",
        "--tensor-parallel-size": "4",
        "--max-model-len": "512",
        "--load-format": "safetensors",
        "--port": "8000",
    }.items():
        assert arguments[arguments.index(flag) + 1] == value
    assert "--trust-remote-code" not in arguments
    variables = {variable["name"]: variable["value"] for variable in vllm["env"]}
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert "VLLM_SERVER_DEV_MODE" not in variables
    assert vllm["resources"]["limits"]["nvidia.com/gpu"] == "4"


def test_a_forbidden_variable_of_the_operators_file_does_not_arrive() -> None:
    by = settings(environment={"VLLM_SERVER_DEV_MODE": "1", "HTTPS_PROXY": "http://p:1", "PRICE": "5$(HOME)"})
    variables = {variable["name"]: variable["value"] for variable in pod(made(by=by))["containers"][0]["env"]}
    assert "VLLM_SERVER_DEV_MODE" not in variables
    assert variables["HTTPS_PROXY"] == "http://p:1"
    assert variables["PRICE"] == "5$$(HOME)", "Kubernetes replaces nothing in it"


def test_without_a_gpu_it_computes_on_the_processors_that_it_asked_for() -> None:
    [vllm] = pod(made(order(resources=Resources(gpus=0, cpus=6))))["containers"]
    assert "--enforce-eager" in vllm["args"]
    assert {"name": "OMP_NUM_THREADS", "value": "5"} in vllm["env"]
    assert "nvidia.com/gpu" not in vllm["resources"]["requests"]
    assert vllm["resources"]["requests"]["cpu"] == "6"


def test_every_probe_asks_for_a_generation_and_none_kills_early() -> None:
    [vllm] = pod(made(by=settings(start_timeout_s=1800)))["containers"]
    startup, readiness, liveness = (vllm[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness"))
    for probe in (startup, readiness, liveness):
        assert probe["exec"]["command"][:3] == ["python3", "-I", "/model/probe.py"]
        assert {"httpGet", "tcpSocket"}.isdisjoint(probe)
        command = probe["exec"]["command"]
        assert float(command[command.index("--timeout") + 1]) < probe["timeoutSeconds"]
        assert command[command.index("--model") + 1] == "ft:tiny:x"
    assert startup["failureThreshold"] * startup["periodSeconds"] >= 1800
    token_s = float(liveness["exec"]["command"][liveness["exec"]["command"].index("--timeout") + 1])
    assert liveness["failureThreshold"] * token_s >= 300, "the proxy waits that long for a byte"


def test_pods_are_replaced_without_a_gap() -> None:
    found = made()
    spec = found.deployment["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    [vllm] = pod(found)["containers"]
    hook = vllm["lifecycle"]["preStop"]["exec"]["command"]
    assert hook[3] == "drain"
    longest = 10 + float(hook[hook.index("--timeout") + 1])
    assert pod(found)["terminationGracePeriodSeconds"] >= longest, "the hook's time counts against it"
    assert spec["progressDeadlineSeconds"] == settings().endpoints.start_timeout_s


@pytest.mark.parametrize(("at_least", "at_most"), [(1, 1), (1, 4), (3, 3)])
def test_a_budget_never_keeps_a_node_from_being_drained(at_least: int, at_most: int) -> None:
    found = by_kind(made(order(replicas=at_least, max_replicas=at_most), settings(autoscaler="hpa")))
    assert ("PodDisruptionBudget" in found) is (at_most > 1)
    assert ("HorizontalPodAutoscaler" in found) is (at_most > at_least)
    if at_most > 1:
        budget = found["PodDisruptionBudget"]["spec"]
        assert budget["maxUnavailable"] == 1
        assert "minAvailable" not in budget
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_waiting_requests_scale() -> None:
    hpa = by_kind(made(*ORDERS["scaled"]))["HorizontalPodAutoscaler"]["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 5)
    [metric] = hpa["metrics"]
    assert metric["pods"]["metric"]["name"] == "vllm:num_requests_waiting"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "8"}
    scaled = by_kind(made(*ORDERS["keda"]))["ScaledObject"]
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert scaled["spec"]["minReplicaCount"] == 1, "asleep is ours to say"
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["metadata"]["query"] == 'sum(vllm:num_requests_waiting{model_name="ft:tiny:x"})'


def test_placement_and_type_of_gpu() -> None:
    spec = pod(made(*ORDERS["placed"]))
    assert spec["nodeSelector"] == {"pool": "gpus", "nvidia.com/gpu.product": "NVIDIA-H100"}
    assert spec["priorityClassName"] == "high"
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "ep-a1/../x"}, "not the name of an endpoint"),
        ({"name": "other"}, "not the name of an endpoint"),
        ({"model_id": "--enable-lora"}, "cannot be an argument"),
        ({"model_id": "a$(HOME)"}, "cannot be an argument"),
        ({"model_id": "a b\n"}, "cannot be an argument"),
        ({"replicas": 3, "max_replicas": 2}, "3 to 2 replicas"),
        ({"replicas": 0}, "0 to 1 replicas"),
        ({"resources": Resources(nodes=2, gpus=1)}, "one node"),
        ({"resources": Resources(gpus=9)}, "max_gpus"),
        (
            {"files": (StoredFile(name="w", size_bytes=101 << 30, sha256="0" * 64),)},
            "101.0 GiB, a replica has room for 100Gi",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(EndpointRefused, match=said.replace("(", r"\(")):
        made(order(**changes))


def test_two_thousand_files_fit() -> None:
    files = tuple(
        StoredFile(name=f"{'n' * 120}{number:05}", size_bytes=10, sha256=f"{number:064x}")
        for number in range(2000)
    )
    found = made(order(files=files))
    assert len(json.dumps(found.deployment)) < 16_384, "they are in the store"


def test_another_number_of_replicas_replaces_none() -> None:
    templates = [
        made(order(replicas=least, max_replicas=most)).deployment["spec"]["template"]
        for least, most in ((1, 1), (2, 2), (1, 5))
    ]
    assert templates[0] == templates[1] == templates[2]


def test_settings_of_jobs_are_nothing_to_an_endpoint() -> None:
    assert settings_hash(cluster_settings(ttl_s=61)) == settings_hash(cluster_settings())
    assert settings_hash(settings(image="vllm@sha256:" + "9" * 64)) != settings_hash(settings())


def test_a_change_makes_the_object_like_the_manifest_and_keeps_what_others_set() -> None:
    before = copy.deepcopy(made(*ORDERS["placed"]).deployment)
    before["metadata"] |= {"uid": "u", "annotations": {"deployment.kubernetes.io/revision": "3"}}
    before["spec"]["replicas"] = 4
    before["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    wanted = made(order(replicas=2, max_replicas=3)).deployment
    change = change_of(DEPLOYMENTS, before, wanted)
    after = merge(before, change)
    assert after["spec"]["template"] == wanted["spec"]["template"]
    assert after["spec"]["replicas"] == 3, "within the new bounds, else the autoscaler's"
    assert after["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert after["metadata"]["annotations"]["temper/replicas"] == "2-3"


def test_keda_without_prometheus_is_refused_by_its_key(tmp_path: Any) -> None:
    given = settings().model_dump(mode="json")
    given["endpoints"]["autoscaler"] = "keda"
    path = tmp_path / "cluster.yaml"
    path.write_text(json.dumps(given))
    with pytest.raises(ClusterSettingsError, match=r"endpoints.*prometheus_url"):
        read_cluster_settings(path)


def test_a_hardened_models_deployment_knows_by_which_keys_it_verifies() -> None:
    """Where the keys change, what is served is brought up to date: pods that begin later verify as well."""
    assert KEYS not in made().deployment["metadata"]["annotations"]
    trust = Trust(verdicts=("pass",), keys=("one", "two"))
    annotations = made(order(trust=trust)).deployment["metadata"]["annotations"]
    assert annotations[KEYS] == keys_hash(("two", "one")) != keys_hash(("one",))
