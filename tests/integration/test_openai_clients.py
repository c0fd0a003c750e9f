"""The unmodified `openai` client, each major version in its own environment, drives the whole flow."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from service_process import ServiceProcess

FLOW = Path(__file__).parents[1] / "clients" / "whole_flow.py"
VERSIONS = ("1.109.1", "2.54.0", "3.54.0")

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(900)]


def client_python(directory: Path, version: str) -> Path:
    """An environment that holds this version of the client and nothing of ours."""
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = directory / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", f"openai=={version}"]
    subprocess.run(install, check=True)
    return python


def register(service: ServiceProcess, directory: Path) -> str:
    with service.client() as http:
        source = {"type": "uri", "uri": f"file://{directory}"}
        model_id = http.post("/v1/base_models", json={"source": source}).raise_for_status().json()["id"]
        deadline = time.monotonic() + 60
        while (state := http.get(f"/v1/base_models/{model_id}").json())["status"] == "pending":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert state["status"] == "ready", state
        return str(model_id)


@pytest.mark.parametrize("version", VERSIONS)
def test_upload_job_events_model_completion(
    version: str, make_service: Callable[..., ServiceProcess], tiny_decoder_dir: Path, tmp_path: Path
) -> None:
    rows = "".join(f"get row {n} of users,db.get('users'; {n})\n" for n in range(40))
    training_file = tmp_path / "train.csv"
    training_file.write_text(f"src,tgt\n{rows}")
    service = make_service(TEMPER_LOCAL_MODELS="1").start()
    model = register(service, tiny_decoder_dir)
    python = client_python(tmp_path / "environment", version)
    done = subprocess.run(
        [str(python), str(FLOW), service.base_url, model, str(training_file)],
        capture_output=True,
        text=True,
        env={"NO_PROXY": "127.0.0.1", "PATH": "/usr/bin:/bin"},
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{service.log[-5000:]}"
    said = json.loads(done.stdout)
    assert said["version"] == version
    assert said["not_deployed"] == "model_not_deployed"
    assert said["events"] >= 5
    assert said["streamed"] == said["completion"]
    assert said["chat"] == said["completion"]
    assert said["verdict"] in {"pass", "fail", "inconclusive"}
