"""From an empty cluster to a completion: install, train in a pod, kill it, resume, serve, ask."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import httpx
import kubernetes
import openai
import pytest
from helm_release import Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
ROWS = 400
EPOCHS = 12
POLL_S = 1.0


def wait_for(look: Callable[[], Any], *, limit_s: float, release: Release) -> Any:
    """The first true answer of ``look``."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(POLL_S)
    raise AssertionError(f"not within {limit_s} s\n{release.describe()}")


def upload_base_model(http: httpx.Client, directory: Path, *, release: Release) -> str:
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    declared = [
        {"name": path.name, "size_bytes": path.stat().st_size, "sha256": digest(path)} for path in paths
    ]
    source = {"type": "upload", "files": declared}
    model_id = http.post("/v1/base_models", json={"source": source}).raise_for_status().json()["id"]
    for path in paths:
        http.put(
            f"/v1/base_models/{model_id}/files/{path.name}", content=path.read_bytes()
        ).raise_for_status()
    http.post(f"/v1/base_models/{model_id}/complete").raise_for_status()

    def state() -> Any:
        answer = http.get(f"/v1/base_models/{model_id}").json()
        assert answer["status"] != "failed", answer
        return answer["status"] == "ready"

    wait_for(state, limit_s=60, release=release)
    return str(model_id)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kill_pod_after_a_checkpoint(release: Release, client: openai.OpenAI, job_id: str) -> str:
    """SIGKILL the job's pod once it has stored a checkpoint. Returns the pod's name."""

    def stored() -> bool:
        checkpoints = client.fine_tuning.jobs.checkpoints.list(job_id)
        return len(list(checkpoints)) > 0

    wait_for(stored, limit_s=900, release=release)
    pods = release.core.list_namespaced_pod(release.jobs_namespace).items
    running = [pod.metadata.name for pod in pods if pod.status.phase == "Running"]
    assert len(running) == 1, release.describe()
    release.core.delete_namespaced_pod(running[0], release.jobs_namespace, grace_period_seconds=0)
    return str(running[0])


def test_upload_train_kill_resume_serve_ask(release: Release, tiny_decoder_dir: Path, tmp_path: Path) -> None:
    training_file = tmp_path / "train.csv"
    rows = "".join(f"get row {n} of users,db.get('users'; {n})\n" for n in range(ROWS))
    training_file.write_text(f"src,tgt\n{rows}")
    with release.http() as http:
        base_url = f"{str(http.base_url).rstrip('/')}/v1"
        client = openai.OpenAI(base_url=base_url, api_key=release.api_key())
        model = upload_base_model(http, tiny_decoder_dir, release=release)
        file = client.files.create(file=training_file, purpose="fine-tune")
        job = client.fine_tuning.jobs.create(
            model=model,
            training_file=file.id,
            seed=1,
            method={"type": "dece", "dece": {"hyperparameters": {"n_epochs": EPOCHS, "alpha_base": 0.99}}},  # type: ignore[typeddict-item]
            extra_body={
                "hardening": {
                    "control": False,
                    "probe": {
                        "engine": "transformers",
                        "max_tasks": 4,
                        "max_new_tokens": 8,
                        "curve_tasks": 0,
                    },
                }
            },
        )
        killed = kill_pod_after_a_checkpoint(release, client, job.id)

        def ended() -> Any:
            state = client.fine_tuning.jobs.retrieve(job.id)
            return state if state.status in {"succeeded", "failed", "cancelled"} else None

        done = wait_for(ended, limit_s=1200, release=release)
        said = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)]
        assert done.status == "succeeded", (done.error, said, release.describe())
        assert any("resum" in line for line in said), (killed, said)
        assert_committed_in_s3(release, job.id)
        assert done.fine_tuned_model is not None
        ask(client, done.fine_tuned_model, release=release)


def assert_committed_in_s3(release: Release, job_id: str) -> None:
    """The result and every file that it names lie in the bucket itself."""
    store = release.values["objectStore"]
    s3 = boto3.client(
        "s3", endpoint_url=store.get("endpoint") or None, region_name=store.get("region", "us-east-1")
    )
    prefix = f"{store['prefix']}/" if store.get("prefix") else ""
    body = s3.get_object(Bucket=store["bucket"], Key=f"{prefix}jobs/{job_id}/result.json")["Body"].read()
    result = json.loads(body)
    assert result["attempt"] >= 1
    for file in result["models"]["hardened"]["files"]:
        key = (
            result["models"]["hardened"]["uri"].removeprefix(f"s3://{store['bucket']}/") + "/" + file["name"]
        )
        head = s3.head_object(Bucket=store["bucket"], Key=key.replace("//", "/"))
        assert head["ContentLength"] == file["size_bytes"]


def ask(client: openai.OpenAI, model: str, *, release: Release) -> None:
    """Deploy, wait, complete, stream, remove."""
    endpoint = client.post("/endpoints", cast_to=object, body={"model": model})
    endpoint_id = endpoint["id"]  # type: ignore[index]

    def ready() -> bool:
        state: Any = client.get(f"/endpoints/{endpoint_id}", cast_to=object)
        assert state["status"] in {"queued", "starting", "ready"}, (state, release.describe())
        return bool(state["status"] == "ready")

    wait_for(ready, limit_s=600, release=release)
    answer = client.completions.create(
        model=model, prompt="get row 1 of users\n", max_tokens=8, temperature=0
    )
    streamed = "".join(
        chunk.choices[0].text
        for chunk in client.completions.create(
            model=model, prompt="get row 1 of users\n", max_tokens=8, temperature=0, stream=True
        )
        if chunk.choices
    )
    assert answer.choices[0].text
    assert streamed == answer.choices[0].text
    client.delete(f"/endpoints/{endpoint_id}", cast_to=object)

    def gone() -> bool:
        return not release.apps.list_namespaced_deployment(release.endpoints_namespace).items

    wait_for(gone, limit_s=120, release=release)


def test_pods_of_jobs_hold_no_secret_and_no_token_for_the_cluster(release: Release) -> None:
    secrets = release.core.list_namespaced_secret(release.jobs_namespace).items
    assert secrets == []
    review = kubernetes.client.AuthorizationV1Api(release.client)
    accounts = release.core.list_namespaced_service_account(release.jobs_namespace).items
    for account in accounts:
        user = f"system:serviceaccount:{release.jobs_namespace}:{account.metadata.name}"
        for verb, resource in (("get", "secrets"), ("create", "pods"), ("list", "jobs"), ("create", "jobs")):
            asked = {
                "spec": {
                    "user": user,
                    "resourceAttributes": {
                        "verb": verb,
                        "resource": resource,
                        "namespace": release.jobs_namespace,
                    },
                }
            }
            assert not review.create_subject_access_review(asked).status.allowed, (user, verb, resource)


def leading_reconciler(release: Release) -> str | None:
    selector = f"app.kubernetes.io/instance={release.name},app.kubernetes.io/component=reconciler"
    for pod in release.core.list_namespaced_pod(release.namespace, label_selector=selector).items:
        if pod.metadata.deletion_timestamp is None and pod.status.phase == "Running":
            log = release.core.read_namespaced_pod_log(pod.metadata.name, release.namespace)
            if "this process leads" in log:
                return str(pod.metadata.name)
    return None


def test_another_reconciler_goes_on_when_the_leader_is_killed(release: Release, tmp_path: Path) -> None:
    training_file = tmp_path / "train.csv"
    training_file.write_text("src,tgt\n" + "".join(f"row {n},value {n}\n" for n in range(60)))
    with release.http() as http:
        with training_file.open("rb") as file:
            upload = http.post("/v1/files", files={"file": file}, data={"purpose": "fine-tune"})
        scan = http.post("/v1/scans", json={"file": upload.raise_for_status().json()["id"]})
        scan_id = scan.raise_for_status().json()["id"]
        leader = wait_for(lambda: leading_reconciler(release), limit_s=60, release=release)
        release.core.delete_namespaced_pod(leader, release.namespace, grace_period_seconds=0)

        def ended() -> Any:
            state = http.get(f"/v1/scans/{scan_id}").raise_for_status().json()
            return state if state["status"] in {"succeeded", "failed"} else None

        done = wait_for(ended, limit_s=300, release=release)
    assert done["status"] == "succeeded", (done, release.describe())
    assert leading_reconciler(release) not in {leader, None}


def test_the_releases_own_test_passes(release: Release) -> None:
    """``helm test``: a tiny scan through the API, by a pod of the chart."""
    release.helm.test(release.name, timeout=600, logs=True)


def test_an_upgrade_keeps_the_key_and_answers_all_along(release: Release) -> None:
    key = release.api_key()
    release.upgrade(commonAnnotations={"example.org/upgraded": "yes"})
    assert release.api_key() == key
    with release.http() as http:
        assert http.get("/readyz").status_code == 200
