"""The roles of an install as real processes on a real PostgreSQL: who refuses, who leads, who recovers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from service_process import ServiceProcess
from service_process import free_port
from waiting import until

from deploy.evidence.keys import SigningKey

NOT_ROWS = b"not json at all\n"
HUB = {"type": "hub", "repo": "a/b", "revision": "a" * 40}


def run_role(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TEMPER_")}
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(
        command, env={**clean, **env}, capture_output=True, text=True, timeout=120, check=False
    )


wait_for = partial(until, seconds=60.0, pause_s=0.1)


def test_the_roles_tell_what_to_run_on_an_old_schema(postgres: Any, tmp_path: Path) -> None:
    postgres.execute("CREATE DATABASE bare")
    # An empty one would be waited for: a first install makes its schema meanwhile.
    postgres.execute("CREATE TABLE alembic_version (version_num text)", name="bare")
    postgres.execute("INSERT INTO alembic_version VALUES ('0001')", name="bare")
    env = {"TEMPER_HOME": str(tmp_path / "role"), "TEMPER_DATABASE_URL": postgres.url("bare")}
    for role in ("api", "reconcile"):
        refused = run_role(role, **env)
        assert refused.returncode == 2
        assert "python -m service migrate --phase pre" in refused.stderr
    postgres.execute("DROP TABLE alembic_version", name="bare")
    migrated = run_role("migrate", "--phase", "pre", **env)
    assert migrated.returncode == 0, migrated.stderr
    assert "applied: 0001" in migrated.stderr
    assert postgres.execute("SELECT count(*) FROM leftovers", name="bare") == [(0,)]
    postgres.execute("DROP DATABASE bare")


def leads(service: ServiceProcess) -> bool:
    """What its own metrics say; a process that is stopped says nothing."""
    try:
        text = httpx.get(f"{service.base_url}/metrics", trust_env=False, timeout=2).text
    except httpx.TransportError:
        return False
    return "temper_leader 1.0" in text


def get(service: ServiceProcess, path: str) -> httpx.Response:
    return httpx.get(f"{service.base_url}{path}", trust_env=False, timeout=10)


def rows(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        query = "SELECT id, status, version, (SELECT count(*) FROM job_events e WHERE e.job_id = j.id) FROM jobs j"
        return connection.execute(query + " ORDER BY id").fetchall()


def submit(api: httpx.Client) -> str:
    files = {"file": ("t.jsonl", NOT_ROWS)}
    file = api.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
    body = {"model": "hub", "training_file": file, "seed": 0}
    return str(api.post("/v1/fine_tuning/jobs", json=body).json()["id"])


def test_e14_a_leader_that_was_paused_past_its_lock_changes_nothing(
    make_service: Callable[..., ServiceProcess], postgres_url: str, tmp_path: Path
) -> None:
    shared = {"TEMPER_DATABASE_URL": postgres_url, "TEMPER_STORE_URI": (tmp_path / "objects").as_uri()}
    api, *reconcilers = (make_service(**shared) for _ in range(3))
    api.command = ("-m", "service", "api")
    api.start()
    for reconciler in reconcilers:
        reconciler.command = ("-m", "service", "reconcile")
        reconciler.start()  # which waits until it is ready: whoever waits for its turn is, too
    wait_for(lambda: any(map(leads, reconcilers)))
    leader, standby = sorted(reconcilers, key=leads, reverse=True)
    assert (leads(leader), leads(standby)) == (True, False)
    with api.client() as client:
        client.post("/v1/base_models", json={"id": "hub", "source": HUB})
        first = submit(client)
        wait_for(lambda: client.get(f"/v1/fine_tuning/jobs/{first}").json()["status"] == "failed")
        os.kill(leader.pid, signal.SIGSTOP)
        try:
            second = submit(client)
            wait_for(lambda: leads(standby))
            wait_for(lambda: client.get(f"/v1/fine_tuning/jobs/{second}").json()["status"] == "failed")
            before = rows(postgres_url)
        finally:
            os.kill(leader.pid, signal.SIGCONT)
        wait_for(lambda: get(leader, "/readyz").status_code == 200)
        wait_for(lambda: "this process leads no more" in leader.log)
        assert (leads(leader), leads(standby)) == (False, True)
        assert get(leader, "/healthz").status_code == 200
        assert rows(postgres_url) == before
        third = submit(client)
        wait_for(lambda: client.get(f"/v1/fine_tuning/jobs/{third}").json()["status"] == "failed")
    # Each was decided on once: created, and refused.
    assert {(status, events) for _, status, _, events in rows(postgres_url)} == {("failed", 2)}
    assert standby.stop() == 0
    wait_for(lambda: leads(leader))
    assert leader.stop() == 0


def test_a_migration_without_a_database_ends_with_its_reason() -> None:
    env = {"TEMPER_DATABASE_URL": "postgresql://temper:hunter2@127.0.0.1:1/none"}
    failed = run_role("migrate", "--wait", "0.1", **env)
    assert failed.returncode == 2
    assert "TEMPER_DATABASE_URL: no answer" in failed.stderr
    assert "hunter2" not in failed.stderr


def test_recover_tells_what_it_did(tmp_path: Path, make_file: Callable[[Path], str]) -> None:
    home = tmp_path / "home"
    file = make_file(home)
    env = {"TEMPER_HOME": str(home)}
    rehearsed = run_role("recover", "--dry-run", **env)
    assert "nothing was kept" in rehearsed.stdout
    recovered = run_role("recover", **env)
    assert recovered.returncode == 0, recovered.stderr
    assert f"files/{file}: it has no record" in recovered.stdout
    counted = next(line.split() for line in recovered.stdout.splitlines() if line.startswith("files  "))
    assert counted == ["files", "1", "0", "0"]
    again = run_role("recover", **env)
    assert next(line.split() for line in again.stdout.splitlines() if line.startswith("files  "))[1:] == [
        "0",
        "1",
        "0",
    ]


@pytest.fixture
def make_file() -> Callable[[Path], str]:
    """One file in the object store of a home without a database."""

    def make(home: Path) -> str:
        files = home / "objects" / "files"
        files.mkdir(parents=True)
        name = "file-" + "0" * 32
        (files / name).write_bytes(json.dumps({"a": 1}).encode())
        return name

    return make


def test_a_reconciler_without_its_cluster_ends_with_a_failure(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.json"
    parts = {"namespace": "n", "service_account": "s", "image": "i", "fetch_image": "f"}
    jobs = {name: value for name, value in parts.items() if name != "fetch_image"}
    settings = {"release": "r", "broker_url": "http://b", "jobs": jobs, "endpoints": parts}
    cluster.write_text(json.dumps(settings))
    env = {"TEMPER_HOME": str(tmp_path / "home"), "TEMPER_CLUSTER_FILE": str(cluster)}
    assert run_role("migrate", **env).returncode == 0
    unsigned = run_role("reconcile", **env, TEMPER_PORT=str(free_port()))
    assert unsigned.returncode == 2
    assert "TEMPER_SIGNING_KEY_FILE" in unsigned.stderr
    key = tmp_path / "key.pem"
    key.write_bytes(SigningKey.generate().to_pem())
    env["TEMPER_SIGNING_KEY_FILE"] = str(key)
    failed = run_role("reconcile", **env, KUBECONFIG=str(tmp_path / "none"), TEMPER_PORT=str(free_port()))
    assert failed.returncode != 0
    assert "which cluster" in failed.stderr
