"""The installed ``temper report`` against a real service process, whose jobs are stand-ins."""

import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

STAND_INS = Path(__file__).parents[1] / "stand_ins"
TEMPER = Path(sys.executable).with_name("temper")
ROWS = b'{"prompt": "list rows", "completion": "x = 1"}\n' * 20
WEIGHTS_SHA256 = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
SLOW, REFUSES = 7, 42
KEY = "correct-horse-battery"


@pytest.fixture
def service(make_service: Callable[..., Any]) -> Any:
    process = make_service(TEMPER_RECONCILE_INTERVAL_S="0.1", TEMPER_API_KEY=KEY)
    process.command = (str(STAND_INS / "embedded_service.py"),)
    return process.start()


def register_base(home: Path, database_url: str) -> None:
    """A base model that only its row makes one."""
    from service.database import Database
    from service.tables import BaseModelRow

    objects = home / "objects" / "base_models" / "tiny"
    objects.mkdir(parents=True)
    (objects / "model.safetensors").write_bytes(b"weights")
    database = Database(database_url)
    with database.writing() as session:
        row = BaseModelRow(id="tiny", status="ready", source={"type": "upload"}, created_at=1, version=0)
        row.uri, row.architecture, row.parameters = objects.as_uri(), "decoder", 1000
        row.files = [{"name": "model.safetensors", "size_bytes": 7, "sha256": WEIGHTS_SHA256}]
        session.add(row)
    database.close()


def create(client: httpx.Client, seed: int) -> str:
    uploaded = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", ROWS)})
    body = {"model": "tiny", "training_file": uploaded.raise_for_status().json()["id"], "seed": seed}
    return str(client.post("/v1/fine_tuning/jobs", json=body).raise_for_status().json()["id"])


def until(client: httpx.Client, job: str, reached: Callable[[dict[str, Any]], Any]) -> None:
    deadline = time.monotonic() + 60
    while not reached(client.get(f"/v1/fine_tuning/jobs/{job}").raise_for_status().json()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def temper(url: str, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "TEMPER_URL": url, "TEMPER_API_KEY": key, "PYTHONUTF8": "1"}
    return subprocess.run(
        [str(TEMPER), "report", *arguments], env=env, capture_output=True, text=True, timeout=120
    )


def test_a_pipeline_gates_on_a_report(service: Any, tmp_path: Path) -> None:
    register_base(service.home, service.database_url)
    url = service.base_url
    with service.client() as client:
        waited_for = create(client, 0)
        passed = temper(url, waited_for, "--gate", "--wait")
        assert passed.returncode == 0, passed.stderr
        assert f"{waited_for}: PASS" in passed.stdout
        assert "60.0 % (60/100)" in passed.stdout
        assert passed.stderr.endswith(f"{waited_for}: pass\n")
        check_formats(client, url, waited_for, tmp_path)
        assert temper(url, waited_for, "--gate", key="wrong").returncode == 77
        assert temper(url, "ftjob-nope", "--gate").returncode == 66
        refused = create(client, REFUSES)
        until(client, refused, lambda job: job["status"] == "failed")
        assert temper(url, refused, "--gate", "--wait").returncode == 65
        slow = create(client, SLOW)
        until(client, slow, lambda job: job["hardening"]["progress"])
        unfinished = temper(url, slow, "--gate", "--wait", "--timeout", "3")
        assert unfinished.returncode == 75
        assert "training" in unfinished.stderr
    service.stop()
    gone = temper(url, waited_for, "--gate")
    assert (gone.returncode, gone.stdout) == (69, "")


def check_formats(client: httpx.Client, url: str, job: str, tmp_path: Path) -> None:
    """What is saved is what the routes give, and each is what it says."""
    for form, suffix in (
        ("json", ".json"),
        ("html", ".html"),
        ("sarif", ".sarif"),
        ("junit", ".junit.xml"),
        ("jsonl", ".jsonl"),
    ):
        saved = tmp_path / f"report{suffix}"
        ran = temper(url, job, "--format", form, "--output", str(saved))
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        assert saved.read_bytes() == client.get(f"/v1/reports/{job}{suffix}").raise_for_status().content
    schema = client.get("/v1/reports/schema.json").raise_for_status().json()
    jsonschema.Draft202012Validator(schema).validate(json.loads((tmp_path / "report.json").read_text()))
    provenance = json.loads((tmp_path / "report.json").read_text())["provenance"]
    assert set(provenance["weights_sha256"]) == {"base", "control", "hardened"}
    assert "<h1" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "report.sarif").read_text())["version"] == "2.1.0"
    root = ET.fromstring((tmp_path / "report.junit.xml").read_text())  # noqa: S314 - our own
    assert root.get("failures") == root.get("errors") == "0"
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert rows[-1]["entry_type"] == "completion"
