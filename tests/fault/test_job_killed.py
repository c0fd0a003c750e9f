"""A job killed in every phase: the next attempt ends with the bytes of a job that was never touched."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from job_process import JobBench

from deploy.contract.event import JobEvent
from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import TrainingPlan

pytestmark = pytest.mark.slow

PLAN = TrainingPlan(
    n_epochs=6, batch_size=8, learning_rate=3e-3, max_tokens=64, seed=7, checkpoint_every_s=0.05
)

MOMENTS: dict[str, Callable[[JobEvent], bool]] = {
    "preparing": lambda event: event.phase == "preparing",
    "training": lambda event: "checkpoint" in event.data and event.data["step"] >= 7,
    "probing": lambda event: event.phase == "probing",
}


def weights(bench: JobBench) -> dict[str, str]:
    return {
        f"{arm}/{file.name}": file.sha256
        for arm, artifact in bench.result().models.items()
        for file in artifact.files
    }


@pytest.fixture(scope="module")
def untouched() -> dict[str, dict[str, str]]:
    """Weights of the job that nobody touched, made by the first test that needs them."""
    return {}


def expected(bench: JobBench, untouched: dict[str, dict[str, str]]) -> dict[str, str]:
    if not untouched:
        bench.run(bench.spec(training=PLAN), pod="calm")
        untouched["weights"] = weights(bench)
        bench.store.delete_prefix("jobs/")
    return untouched["weights"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_e3_killed_and_started_again_gives_the_same_weights(
    job_bench: JobBench, untouched: dict[str, dict[str, str]], moment: str
) -> None:
    calm = expected(job_bench, untouched)
    process = job_bench.start(job_bench.spec(training=PLAN))
    job_bench.wait_for(process, MOMENTS[moment])
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(children, timeout=10)
    job_bench.run(job_bench.spec(attempt=2, training=PLAN), pod="second")
    assert weights(job_bench) == calm
    resumed = [event for event in job_bench.events(2, "second") if "resumed" in event.message]
    assert bool(resumed) == (moment != "preparing")


KILLS = """
import os
import signal

import training.publish

def kill(*_args, **_more):
    os.killpg(os.getpgrp(), signal.SIGKILL)

upload = training.publish.upload_model

def upload_model(store, spec, pod, arm, directory, **more):
    return kill() if arm == "hardened" else upload(store, spec, pod, arm, directory, **more)

training.publish.{name} = {replacement}
"""
"""These phases are too short to be met from outside."""


@pytest.mark.parametrize(
    ("phase", "name", "replacement"),
    [("uploading", "upload_model", "upload_model"), ("committing", "commit", "kill")],
)
def test_e3_killed_just_before_its_end_it_has_committed_nothing(
    job_bench: JobBench,
    untouched: dict[str, dict[str, str]],
    tmp_path: Path,
    phase: str,
    name: str,
    replacement: str,
) -> None:
    calm = expected(job_bench, untouched)
    patched = tmp_path / "patched"
    patched.mkdir()
    (patched / "sitecustomize.py").write_text(KILLS.format(name=name, replacement=replacement))
    job_bench.run(job_bench.spec(training=PLAN), expect=-signal.SIGKILL, env={"PYTHONPATH": str(patched)})
    written = [info.key for info in job_bench.store.list("jobs/")]
    assert any("/models/control/" in key for key in written), "it came as far as it should"
    assert any("/models/hardened/" in key for key in written) == (phase == "committing")
    assert not any(key.endswith("result.json") for key in written)
    job_bench.run(job_bench.spec(attempt=2, training=PLAN), pod="second")
    assert weights(job_bench) == calm
    assert job_bench.result().pod == "second"


def test_arms_do_not_outlive_a_job_that_is_killed_alone(job_bench: JobBench) -> None:
    plan = PLAN.model_copy(update={"n_epochs": 50})
    process = job_bench.start(job_bench.spec(training=plan))
    job_bench.wait_for(process, lambda event: event.type == "metrics")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_told_to_stop_it_writes_a_checkpoint_and_the_next_attempt_goes_on(job_bench: JobBench) -> None:
    plan = PLAN.model_copy(update={"n_epochs": 50, "checkpoint_every_s": 600.0})
    process = job_bench.start(job_bench.spec(training=plan))
    job_bench.wait_for(process, lambda event: event.type == "metrics")
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, output
    assert job_bench.failure().code == "interrupted"
    second = job_bench.start(job_bench.spec(attempt=2, training=plan))
    job_bench.wait_for(second, lambda event: "resumed at step" in event.message, attempt=2)
    second.terminate()
    second.communicate(timeout=60)


def test_an_arm_that_dies_without_a_word_is_the_platforms(job_bench: JobBench) -> None:
    plan = PLAN.model_copy(update={"n_epochs": 50})
    process = job_bench.start(job_bench.spec(training=plan))
    job_bench.wait_for(process, lambda event: event.type == "metrics")
    arms = [
        child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]
    arms[0].kill()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == ExitCode.PLATFORM, output
    assert job_bench.failure().code == "arm_died"
