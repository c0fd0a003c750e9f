"""What the chart tells the processes is what they read: by the code that reads it."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from rendered_chart import CHART
from rendered_chart import FEATURES
from rendered_chart import NAMESPACE
from rendered_chart import Object
from rendered_chart import Values
from rendered_chart import documents
from rendered_chart import of_kind
from rendered_chart import profile_values
from rendered_chart import render
from rendered_chart import variants

from deploy.kubernetes.settings import ClusterSettings
from deploy.kubernetes.settings import read_cluster_settings
from deploy.store.s3_settings import S3Settings
from service.environment import SettingsError
from service.limits.numbers import NAMES
from service.limits.numbers import Limits
from service.settings import Settings
from service.settings import settings_from_env

each_variant = pytest.mark.parametrize(
    ("values", "upgrade"), [pytest.param(values, upgrade, id=name) for name, values, upgrade in variants()]
)
ROLES = {"api": "api", "reconciler": "reconcile", "broker": "broker"}
SECRETS = {
    "api-key": "a-key-of-the-api-that-is-long",
    "database-password": "p@ss/word",
    "webhook-key": "a-key-of-webhooks-that-is-long-enough",
    "database-url": "postgresql://other:secret@db2.internal:6432/name?sslmode=verify-full",
}


def cluster_of(objects: list[Object], directory: Path) -> ClusterSettings:
    (config,) = [each for each in of_kind(objects, "ConfigMap") if "cluster.yaml" in each["data"]]
    path = directory / "cluster.yaml"
    path.write_text(config["data"]["cluster.yaml"])
    return read_cluster_settings(path)


def environment_of(objects: list[Object], container: Object, directory: Path) -> dict[str, str]:
    """Variables of a container; files that they name lie in ``directory``, with what Kubernetes would put there."""
    cluster_of(objects, directory)
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (directory / name).write_text("-")
    for name, secret in SECRETS.items():
        (directory / name).write_text(secret + "\n")
    found = {each["name"]: each.get("value", "from-a-secret") for each in container["env"]}
    return {
        name: str(directory / Path(value).name) if value.startswith("/etc/temper/") else value
        for name, value in found.items()
    }


def container_of(objects: list[Object], component: str) -> Object:
    (deployment,) = of_kind(objects, "Deployment", component=component)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def settings_of(objects: list[Object], component: str, directory: Path) -> Settings:
    container = container_of(objects, component)
    assert container["command"] == ["python", "-m", "service", ROLES[component]]
    return settings_from_env(environment_of(objects, container, directory), role=ROLES[component])


@each_variant
def test_the_operators_file_is_one_that_is_read(values: Values, upgrade: bool, tmp_path: Path) -> None:
    objects = render(values, upgrade=upgrade)
    cluster = cluster_of(objects, tmp_path)
    accounts = {
        (each["metadata"]["namespace"], each["metadata"]["name"])
        for each in of_kind(objects, "ServiceAccount")
    }

    assert cluster.release == "temper"
    assert (cluster.jobs.namespace, cluster.jobs.service_account) in accounts
    assert (cluster.endpoints.namespace, cluster.endpoints.service_account) in accounts
    assert cluster.broker_url.startswith(("http://temper-broker.ml.svc:8002", "https://"))


@each_variant
@pytest.mark.parametrize("component", ROLES)
def test_each_process_starts_with_its_environment(
    component: str, values: Values, upgrade: bool, tmp_path: Path
) -> None:
    objects = render(values, upgrade=upgrade)
    container = container_of(objects, component)
    settings = settings_of(objects, component, tmp_path)

    assert settings.port == container["ports"][0]["containerPort"]
    assert not settings.loopback
    assert settings.cluster is not None
    assert settings.store_uri == "s3://models/team/a"
    assert settings.database_url.startswith("postgresql+psycopg://")
    assert (settings.api_key is not None) == (component == "api")


@each_variant
def test_migrations_start_with_theirs_and_no_more(values: Values, upgrade: bool, tmp_path: Path) -> None:
    objects = render(values, upgrade=upgrade)
    for job in of_kind(objects, "Job"):
        spec = job["spec"]["template"]["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            settings = settings_from_env(environment_of(objects, container, tmp_path), role="migrate")
            assert settings.database_url.startswith("postgresql+psycopg://")
            assert settings.cluster is None
            assert not [each["name"] for each in container["env"] if each["name"].startswith("AWS_")]


def test_a_variable_that_the_code_does_not_know_would_be_seen(tmp_path: Path) -> None:
    extra = {"api": {"extraEnv": [{"name": "TEMPER_TYPO", "value": "1"}]}}
    with pytest.raises(SettingsError, match="TEMPER_TYPO"):
        settings_of(render(profile_values("small", extra)), "api", tmp_path)


def test_values_arrive(tmp_path: Path) -> None:
    objects = render(
        profile_values(
            "small",
            {
                "settings": {
                    "logLevel": "debug",
                    "maxFileBytes": 1_099_511_627_776,
                    "uploadIdleSeconds": 0.5,
                    "maxRunningJobs": 10_000,
                    "maxRunningScans": 7,
                    "maxAttempts": 5,
                    "jobDeadlineSeconds": 2_592_000,
                    "scanDeadlineSeconds": 1_000_000,
                    "stallSeconds": 1_000_000,
                    "maxEndpoints": 0,
                    "reconcileIntervalSeconds": 2.5,
                },
                "database": {"poolSize": 42},
                "jobs": {"pendingTimeoutSeconds": 2_592_000, "environment": {"NCCL_DEBUG": "INFO"}},
                "endpoints": {
                    "startTimeoutSeconds": 86_400,
                    "command": ["vllm", "serve"],
                    "waitingPerReplica": 1_000_000,
                },
                "gpu": {"resource": "amd.com/gpu", "typeLabel": "amd.com/gpu.product-name"},
            },
        )
    )
    settings = settings_of(objects, "api", tmp_path)
    cluster = settings.cluster

    assert settings.log_level == "debug"
    assert settings.max_file_bytes == 1 << 40
    assert settings.upload_idle_s == 0.5
    assert (settings.max_running_jobs, settings.max_running_scans) == (10_000, 7)
    assert settings.max_attempts == 5
    assert (settings.job_deadline_s, settings.scan_deadline_s) == (2_592_000, 1_000_000)
    assert settings.stall_s == 1_000_000
    assert settings.max_endpoints == 0
    assert settings.reconcile_interval_s == 2.5
    assert settings.database.pool_size == 42
    assert cluster is not None
    assert cluster.jobs.pending_timeout_s == 2_592_000
    assert cluster.jobs.environment == {"NCCL_DEBUG": "INFO"}
    assert cluster.endpoints.start_timeout_s == 86_400
    assert cluster.endpoints.waiting_per_replica == 1_000_000
    assert cluster.gpu.resource == "amd.com/gpu"


def test_the_limits_of_projects_arrive_at_whoever_keeps_them(tmp_path: Path) -> None:
    most = {name: number for number, name in enumerate(NAMES)} | {"stored_bytes": 1 << 53}
    values = {re.sub(r"_(.)", lambda found: found[1].upper(), name): number for name, number in most.items()}
    objects = render(profile_values("small", {"limits": values, "audit": {"days": 30}}))
    for component in ("api", "reconciler"):
        settings = settings_of(objects, component, tmp_path)
        assert settings.limits == Limits(**most)
        assert settings.audit_days == 30
    assert settings_of(render(profile_values("small")), "api", tmp_path).limits == Limits()


def test_where_webhooks_may_go_arrives_at_whoever_makes_and_delivers_them(tmp_path: Path) -> None:
    objects = render(profile_values(*FEATURES["webhooks"]))
    for component in ("api", "reconciler"):
        webhooks = settings_of(objects, component, tmp_path).webhooks
        assert [(each.host, each.suffix, each.port) for each in webhooks.hosts] == [
            ("hooks.example.com", False, None),
            ("example.org", True, 8443),
        ]
        assert list(map(str, webhooks.networks)) == ["10.9.0.0/16"]
        assert webhooks.key == SECRETS["webhook-key"].encode()
        assert webhooks.ca_file == tmp_path / "ca.crt"
        assert webhooks.public_url == "https://temper.example.com"
        assert not webhooks.loopback_http
    broker = settings_of(objects, "broker", tmp_path).webhooks
    assert (broker.hosts, broker.key) == ((), None)


def test_how_s3_is_used_arrives(tmp_path: Path) -> None:
    store = {
        "addressing": "virtual",
        "partBytes": 5_368_709_120,
        "concurrency": 9,
        "connectTimeoutSeconds": 0.5,
        "readTimeoutSeconds": 90,
        "sse": "aws:kms",
        "kmsKeyId": "alias/temper",
        "storageClass": "STANDARD_IA",
        "bucketOwner": "123456789012",
        "tags": True,
        "ca": {"secret": "s3-ca"},
    }
    objects = render(profile_values("small", {"objectStore": store}))
    environment = environment_of(objects, container_of(objects, "broker"), tmp_path)

    assert S3Settings.from_environment(environment) == S3Settings(
        endpoint_url="https://s3.internal:9000",
        region="us-east-1",
        addressing="virtual",
        ca_bundle=tmp_path / "ca.crt",
        connect_timeout_s=0.5,
        read_timeout_s=90,
        part_size_bytes=5 << 30,
        max_concurrency=9,
        sse="aws:kms",
        kms_key_id="alias/temper",
        storage_class="STANDARD_IA",
        bucket_owner="123456789012",
        tags=True,
    )


@pytest.mark.parametrize("allowed", [True, False])
def test_l4_plain_http_to_the_store_has_to_be_allowed(allowed: bool, tmp_path: Path) -> None:
    store = {"endpoint": "http://s3.internal:9000", "allowHttp": allowed}
    objects = render(profile_values("small", {"objectStore": store}))
    with nullcontext() if allowed else pytest.raises(SettingsError, match="TEMPER_S3_ALLOW_HTTP"):
        settings_of(objects, "api", tmp_path)


def test_l3_the_password_is_read_from_a_file_and_appears_in_no_object(tmp_path: Path) -> None:
    objects = render(profile_values("production"))
    settings = settings_of(objects, "api", tmp_path)

    assert settings.database_url == "postgresql+psycopg://temper:p%40ss%2Fword@db.internal:5432/temper"
    assert settings.api_key == SECRETS["api-key"]
    for each in of_kind(objects, "Deployment") + of_kind(objects, "Job"):
        assert "secretKeyRef" not in str(each).replace("'AWS_", "") or "s3" in str(each)


def test_the_broker_is_told_whether_bytes_may_pass_it_by() -> None:
    for direct, said in ((True, "1"), (False, "0")):
        objects = render(profile_values("small", {"broker": {"direct": direct}}))
        given = {each["name"]: each.get("value") for each in container_of(objects, "broker")["env"]}
        assert given["TEMPER_BROKER_DIRECT"] == said
        api = {each["name"] for each in container_of(objects, "api")["env"]}
        assert "TEMPER_BROKER_DIRECT" not in api


def test_a_whole_url_is_read_from_a_file(tmp_path: Path) -> None:
    values = profile_values("production", {"database": {"host": "", "keys": {"url": "url"}}})
    settings = settings_of(render(values), "reconciler", tmp_path)

    assert (
        settings.database_url
        == "postgresql+psycopg://other:secret@db2.internal:6432/name?sslmode=verify-full"
    )


def test_the_broker_speaks_tls_when_it_has_a_certificate(tmp_path: Path) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n"
    objects = render(profile_values("small", {"broker": {"tls": {"existingSecret": "tls"}, "ca": pem}}))
    container = container_of(objects, "broker")
    settings = settings_of(objects, "broker", tmp_path)
    cluster = cluster_of(objects, tmp_path)

    assert settings.broker_tls == (tmp_path / "tls.crt", tmp_path / "tls.key")
    assert cluster.broker_url == "https://temper-broker.ml.svc:8002"
    assert {
        container[probe]["httpGet"]["scheme"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    } == {"HTTPS"}
    copies = [
        each
        for each in of_kind(objects, "ConfigMap")
        if each["metadata"]["name"] == cluster.broker_ca_config_map
    ]
    assert {each["metadata"]["namespace"] for each in copies} == {
        cluster.jobs.namespace,
        cluster.endpoints.namespace,
    }
    assert all(each["data"] == {"ca.crt": pem} for each in copies)


def test_the_defaults_are_the_codes_own() -> None:
    """Of what the chart has no better idea of: a default that only the chart has would surprise."""
    (values,) = documents((CHART / "values.yaml").read_text())
    code = ClusterSettings.model_validate(
        {
            "release": "r",
            "broker_url": "http://b",
            "jobs": {"namespace": "j", "service_account": "a", "image": "i"},
            "endpoints": {"namespace": "e", "service_account": "a", "image": "i", "fetch_image": "f"},
        }
    )
    for run, chart in ((code.jobs.job, "training"), (code.jobs.scan, "scanning")):
        given = values["jobs"][chart]
        assert (run.gpus, run.max_gpus, run.cpu, run.memory, run.shm, run.scratch) == (
            given["gpus"],
            given["maxGpus"],
            given["cpu"],
            given["memory"],
            given["shm"],
            given["scratch"],
        )
    jobs, endpoints = values["jobs"], values["endpoints"]
    assert (code.jobs.pending_timeout_s, code.jobs.ttl_s, code.jobs.grace_s) == (
        jobs["pendingTimeoutSeconds"],
        jobs["ttlSeconds"],
        jobs["graceSeconds"],
    )
    assert code.endpoints.start_timeout_s == endpoints["startTimeoutSeconds"]
    assert list(code.endpoints.command) == endpoints["command"]
    assert code.broker_audience == values["broker"]["audience"]
    assert (code.gpu.resource, code.gpu.type_label) == (values["gpu"]["resource"], values["gpu"]["typeLabel"])


def test_namespaces_are_named_after_the_releases(tmp_path: Path) -> None:
    cluster = cluster_of(render(profile_values("small")), tmp_path)

    assert (cluster.jobs.namespace, cluster.endpoints.namespace) == (
        f"{NAMESPACE}-jobs",
        f"{NAMESPACE}-endpoints",
    )
