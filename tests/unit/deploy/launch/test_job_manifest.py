"""The Job that stands for an attempt: what its pods may do, who retries what, and that no user's text gets in."""

import json
import string
from typing import Any

import kubernetes_validate
import pytest
from cluster_settings import cluster_settings
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.exit_codes import ExitCode
from deploy.contract.exit_codes import is_users
from deploy.contract.layout import job_of_name
from deploy.contract.layout import spec_key
from deploy.contract.resources import Resources
from deploy.kubernetes.client import Object
from deploy.kubernetes.settings import ClusterSettings
from deploy.launch.job_manifest import job_manifest
from deploy.launch.job_manifest import service_manifest
from deploy.launch.protocol import Launch
from deploy.launch.protocol import LaunchError

NAME = "harden-a1b2-3"
SCAN = "scan-a1b2-1"


def order(name: str = NAME, **given: Any) -> Launch:
    identity = job_of_name(name)
    assert identity is not None
    return Launch(
        **{
            "name": name,
            "spec_uri": f"s3://bucket/prefix/{spec_key(*identity)}",
            "spec_sha256": "ab" * 32,
            "deadline_s": 7200,
            "kind": "scan" if name.startswith("scan-") else "job",
            **given,
        }
    )


def pod_of(job: Object) -> Object:
    spec: Object = job["spec"]["template"]["spec"]
    return spec


def container_of(job: Object) -> Object:
    containers = pod_of(job)["containers"]
    assert len(containers) == 1
    return dict(containers[0])


def environment_of(job: Object) -> dict[str, str]:
    return {each["name"]: each.get("value", "(a field)") for each in container_of(job)["env"]}


PLACED = {
    "node_selector": {"pool": "gpus"},
    "tolerations": ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                ]
            }
        }
    },
    "priority_class": "training",
    "runtime_class": "nvidia",
}
SETTINGS: dict[str, ClusterSettings] = {
    "plain": cluster_settings(),
    "full": cluster_settings(
        job={"scratch_class": "fast", "placement": PLACED},
        image_pull_secrets=("registry",),
        queue="training",
        queues=("urgent",),
        environment={"HTTPS_PROXY": "http://proxy:3128"},
    ).model_copy(update={"broker_ca_config_map": "broker-ca", "broker_url": "https://temper-broker:8002"}),
    "without GPUs": cluster_settings(job={"gpus": 0, "cpu": "500m"}),
}
ORDERS = {
    "job": order(),
    "scan": order(SCAN),
    "asking": order(resources=Resources(gpus=2, gpu_type="NVIDIA-H100-80GB-HBM3", cpus=12, memory_gib=200)),
    "nodes": order(resources=Resources(gpus=2, nodes=4)),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("wanted", ORDERS.values(), ids=ORDERS)
def test_kubernetes_takes_it(settings: ClusterSettings, wanted: Launch) -> None:
    job = job_manifest(wanted, settings)
    kubernetes_validate.validate(job, "1.36", strict=True)
    service = service_manifest({**job, "metadata": {**job["metadata"], "uid": "u"}}, settings)
    kubernetes_validate.validate(service, "1.36", strict=True)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("wanted", ORDERS.values(), ids=ORDERS)
def test_e17_the_pod_is_restricted_and_holds_no_secret(settings: ClusterSettings, wanted: Launch) -> None:
    job = job_manifest(wanted, settings)
    pod, container = pod_of(job), container_of(job)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "job"
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "hostUsers"} & set(pod)
    kinds = {volume["name"]: set(volume) - {"name"} for volume in pod["volumes"]}
    scratch = {"ephemeral"} if settings is SETTINGS["full"] and wanted.kind == "job" else {"emptyDir"}
    expected = {"token": {"projected"}, "scratch": scratch, "tmp": {"emptyDir"}, "shm": {"emptyDir"}}
    assert kinds == expected | ({"ca": {"configMap"}} if settings.broker_ca_config_map else {})
    said = json.dumps(job)
    assert not [word for word in ("secret", "AWS_", "PASSWORD", "DATABASE") if word in said]


def test_the_only_token_is_good_for_the_broker_alone() -> None:
    job = job_manifest(order(), cluster_settings())
    token = next(volume for volume in pod_of(job)["volumes"] if volume["name"] == "token")
    assert token["projected"]["sources"] == [
        {"serviceAccountToken": {"audience": "temper-broker", "expirationSeconds": 3600, "path": "token"}}
    ]
    environment = environment_of(job)
    assert environment["TEMPER_BROKER_TOKEN_FILE"] == "/var/run/temper/token/token"
    assert environment["TEMPER_BROKER_URL"] == "http://temper-broker:8002"
    mount = next(each for each in container_of(job)["volumeMounts"] if each["name"] == "token")
    assert mount == {"name": "token", "mountPath": "/var/run/temper/token", "readOnly": True}


def test_the_pod_is_told_who_it_is_and_where_to_write() -> None:
    job = job_manifest(order(), cluster_settings(environment={"TEMPER_POD": "x", "PROXY": "y"}))
    fields = [each for each in container_of(job)["env"] if each["name"] == "TEMPER_POD"]
    path = {"apiVersion": "v1", "fieldPath": "metadata.uid"}
    assert fields == [{"name": "TEMPER_POD", "valueFrom": {"fieldRef": path}}]
    environment = environment_of(job)
    assert (
        environment
        | {
            "TEMPER_SCRATCH": "/scratch",
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "OMP_NUM_THREADS": "8",
            "PROXY": "y",
        }
        == environment
    )
    container = container_of(job)
    assert container["command"] == ["python", "-m", "training"]
    assert container["args"] == [
        "--spec", "s3://bucket/prefix/jobs/ftjob-a1b2/attempts/3/spec.json", "--sha256", "ab" * 32,
    ]  # fmt: skip
    assert container_of(job_manifest(order(SCAN), cluster_settings()))["command"][-1] == "training.scan"


def test_the_certificate_authority_of_the_broker_is_mounted() -> None:
    job = job_manifest(order(), SETTINGS["full"])
    assert environment_of(job)["TEMPER_BROKER_CA_FILE"] == "/var/run/temper/ca/ca.crt"
    assert "TEMPER_BROKER_CA_FILE" not in environment_of(job_manifest(order(), SETTINGS["plain"]))


def test_e4_each_failure_has_one_who_retries_it() -> None:
    spec = job_manifest(order(), cluster_settings())["spec"]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
    users, disruption, rest = spec["podFailurePolicy"]["rules"]
    assert users["action"] == "FailJob"
    assert users["onExitCodes"]["operator"] == "In"
    assert users["onExitCodes"]["values"] == [3, *range(40, 50)]
    assert disruption == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    assert (rest["action"], rest["onExitCodes"]["operator"]) == ("Count", "NotIn")
    for code in ExitCode:
        final = code in users["onExitCodes"]["values"]
        assert final == (is_users(code) or code is ExitCode.SUPERSEDED)
    assert pod_of(job_manifest(order(), cluster_settings()))["restartPolicy"] == "Never"


def test_time_is_bounded() -> None:
    job = job_manifest(order(deadline_s=99), cluster_settings(ttl_s=777, grace_s=55))
    assert job["spec"]["activeDeadlineSeconds"] == 99
    assert job["spec"]["ttlSecondsAfterFinished"] == 777
    assert pod_of(job)["terminationGracePeriodSeconds"] == 55
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert container_of(job)["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_machines_are_the_users_wish_over_the_operators_default() -> None:
    plain = container_of(job_manifest(order(), cluster_settings()))["resources"]
    assert plain["limits"] == {"memory": "64Gi", "nvidia.com/gpu": "1"}
    assert plain["requests"] == {
        "cpu": "8",
        "memory": "64Gi",
        "ephemeral-storage": "200Gi",
        "nvidia.com/gpu": "1",
    }
    asking = job_manifest(ORDERS["asking"], cluster_settings())
    assert container_of(asking)["resources"]["requests"] == {
        "cpu": "12",
        "memory": "200Gi",
        "ephemeral-storage": "200Gi",
        "nvidia.com/gpu": "2",
    }
    assert pod_of(asking)["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert environment_of(asking)["OMP_NUM_THREADS"] == "6"
    scan = container_of(job_manifest(order(SCAN), cluster_settings()))["resources"]
    assert "nvidia.com/gpu" not in scan["limits"]
    assert scan["requests"]["cpu"] == "2"


def test_placement_is_the_operators() -> None:
    pod = pod_of(job_manifest(order(), SETTINGS["full"]))
    assert pod["nodeSelector"] == {"pool": "gpus"}
    assert pod["tolerations"] == list(PLACED["tolerations"])
    assert pod["affinity"] == PLACED["affinity"]
    assert (pod["priorityClassName"], pod["runtimeClassName"]) == ("training", "nvidia")
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    claim = next(each for each in pod["volumes"] if each["name"] == "scratch")["ephemeral"]
    assert claim["volumeClaimTemplate"]["spec"]["storageClassName"] == "fast"
    assert (
        "ephemeral-storage"
        not in container_of(job_manifest(order(), SETTINGS["full"]))["resources"]["requests"]
    )


def test_shared_memory_is_memory() -> None:
    volumes = pod_of(job_manifest(order(), cluster_settings(job={"shm": "3Gi"})))["volumes"]
    shm = next(volume for volume in volumes if volume["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "3Gi"}
    mounts = {
        each["name"]: each["mountPath"]
        for each in container_of(job_manifest(order(), SETTINGS["plain"]))["volumeMounts"]
    }
    assert mounts["shm"] == "/dev/shm"  # noqa: S108


def test_labels_say_whose_it_is() -> None:
    for wanted in (order(), order(SCAN)):
        job = job_manifest(wanted, cluster_settings())
        expected = {
            "app.kubernetes.io/name": "temper",
            "app.kubernetes.io/instance": "temper",
            "app.kubernetes.io/component": wanted.kind,
            "app.kubernetes.io/managed-by": "temper",
        }
        assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"] == expected


def test_without_a_queue_it_starts_at_once() -> None:
    job = job_manifest(order(), cluster_settings())
    assert job["spec"]["suspend"] is False
    assert "kueue.x-k8s.io/queue-name" not in job["metadata"]["labels"]


def test_with_a_queue_it_waits_to_be_admitted() -> None:
    settings = cluster_settings(queue="training", queues=("urgent",))
    for asked, queue in ((None, "training"), ("training", "training"), ("urgent", "urgent")):
        job = job_manifest(order(queue=asked), settings)
        assert job["spec"]["suspend"] is True
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == queue


def test_nodes_find_each_other() -> None:
    job = job_manifest(ORDERS["nodes"], cluster_settings())
    spec = job["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (4, 4, "Indexed")
    assert spec["successPolicy"] == {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}
    assert spec["podFailurePolicy"]["rules"][1]["action"] == "FailJob"
    assert pod_of(job)["subdomain"] == NAME
    environment = environment_of(job)
    assert (environment["TEMPER_NODES"], environment["TEMPER_GPUS"]) == ("4", "2")
    assert environment["TEMPER_RENDEZVOUS"] == f"{NAME}-0.{NAME}.temper-jobs.svc:29400"
    rank = next(each for each in container_of(job)["env"] if each["name"] == "TEMPER_NODE_RANK")
    path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert rank["valueFrom"]["fieldRef"]["fieldPath"] == path
    job["metadata"]["uid"] = "the-uid"
    service = service_manifest(job, cluster_settings())
    assert service["metadata"]["ownerReferences"][0]["uid"] == "the-uid"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": NAME}


def test_one_node_is_no_indexed_job() -> None:
    job = job_manifest(order(), cluster_settings())
    assert not {"completionMode", "successPolicy"} & set(job["spec"])
    assert "subdomain" not in pod_of(job)
    assert not {"TEMPER_RENDEZVOUS", "TEMPER_NODE_RANK"} & set(environment_of(job))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "Harden-a1b2-3"}, "not the name of a job's attempt"),
        ({"name": "harden-a1b2-0"}, "not the name"),
        ({"name": SCAN}, "not the name of a job's attempt"),
        ({"kind": "scan"}, "not the name of a scan's attempt"),
        ({"spec_sha256": "AB" * 32}, "spec_sha256"),
        ({"spec_uri": "s3://bucket/prefix/jobs/ftjob-other/attempts/3/spec.json"}, "spec_uri"),
        ({"spec_uri": "s3://bucket/$(id)/jobs/ftjob-a1b2/attempts/3/spec.json"}, "spec_uri"),
        ({"spec_uri": "s3://b ucket/jobs/ftjob-a1b2/attempts/3/spec.json"}, "spec_uri"),
        ({"deadline_s": 0}, "deadline of 0 s"),
        ({"resources": Resources(gpus=9)}, "resources.gpus: 9 are more than max_gpus, 8"),
        ({"resources": Resources(gpus=4, nodes=3)}, "resources.gpus: 3 x 4 are more than max_gpus, 8"),
        ({"resources": Resources(nodes=9)}, "resources.gpus: 9 x 1 are more than max_gpus, 8"),
        ({"resources": Resources(gpus=0, gpu_type="A100")}, "resources.gpu_type"),
        ({"queue": "other"}, "queue: 'other' is not one"),
    ],
)
def test_what_must_not_run_here_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(LaunchError, match=message.replace("(", r"\(")):
        job_manifest(order(**given) if "name" not in given else _renamed(given["name"]), cluster_settings())


def test_a_queue_is_refused_where_jobs_are_not_queued() -> None:
    with pytest.raises(LaunchError, match="queue: 'training'"):
        job_manifest(order(queue="training"), cluster_settings(queues=("training",)))


def test_a_scan_has_one_node() -> None:
    with pytest.raises(LaunchError, match="a scan runs on one node"):
        job_manifest(order(SCAN, resources=Resources(nodes=2)), cluster_settings())


def _renamed(name: str) -> Launch:
    return Launch(name=name, spec_uri="s3://b/x", spec_sha256="0" * 64, deadline_s=60)


HOSTILE = st.text(
    st.one_of(st.characters(), st.sampled_from(string.ascii_lowercase + string.digits + "-/$(){}'\"\n%_ "))
)


@given(name=HOSTILE, uri=HOSTILE, sha256=HOSTILE, queue=st.none() | HOSTILE)
def test_e18_only_validated_ids_reach_a_manifest(name: str, uri: str, sha256: str, queue: str | None) -> None:
    """E18. Whatever is handed in: a refusal, or a manifest of harmless characters."""
    settings = cluster_settings(queue="training")
    for wanted in (
        Launch(name=name, spec_uri=uri, spec_sha256=sha256, deadline_s=60, queue=queue),
        order(spec_uri=uri),
        order(spec_uri=f"s3://{uri}/{spec_key('ftjob-a1b2', 3)}"),
        order(spec_sha256=sha256),
        order(queue=queue),
        Launch(name=f"harden-{name}-1", spec_uri=uri, spec_sha256="0" * 64, deadline_s=60),
    ):
        try:
            job = job_manifest(wanted, settings)
        except LaunchError:
            continue
        container = container_of(job)
        handed = [
            job["metadata"]["name"],
            *container["command"],
            *container["args"],
            *job["metadata"]["labels"].values(),
        ]
        assert all(set(text) <= set(string.ascii_letters + string.digits + "-._~/%+@:=") for text in handed)
        assert job_of_name(job["metadata"]["name"]) is not None
        assert environment_of(job) == environment_of(job_manifest(order(), settings))
