"""A disk that is full when a checkpoint is written, seen from outside of the job's process."""

from pathlib import Path

import pytest
from job_process import JobBench

from deploy.contract import layout
from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import TrainingPlan

PLAN = TrainingPlan(
    n_epochs=2, batch_size=8, learning_rate=3e-3, max_tokens=64, seed=7, checkpoint_every_s=0.05
)
FULL = """
import safetensors.torch
from safetensors import SafetensorError

write = safetensors.torch.save_file

def save_file(tensors, filename, *rest, **more):
    if str(filename).endswith("weights.safetensors"):
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    return write(tensors, filename, *rest, **more)

safetensors.torch.save_file = save_file
"""
"""What the library raises, word for word, without a file system of its own for every developer's machine."""


@pytest.mark.slow
def test_a_full_disk_during_a_checkpoint_ends_the_attempt_and_the_next_one_succeeds(
    job_bench: JobBench, tmp_path: Path
) -> None:
    patched = tmp_path / "patched"
    patched.mkdir()
    (patched / "sitecustomize.py").write_text(FULL)
    output = job_bench.run(
        job_bench.spec(training=PLAN, control=False),
        expect=ExitCode.DISK_FULL,
        env={"PYTHONPATH": str(patched)},
    )
    assert "Traceback" not in output
    failure = job_bench.failure()
    assert (failure.exit_code, failure.code) == (ExitCode.DISK_FULL, "disk_full")
    assert failure.message.startswith("the disk is full: ")
    assert "No space left on device" in failure.message
    assert not list(job_bench.scratch.iterdir())
    left = [info.key for info in job_bench.store.list(layout.job_prefix("ftjob-abc123"))]
    assert not any("checkpoints" in key or key.endswith("result.json") for key in left)
    job_bench.run(job_bench.spec(attempt=2, training=PLAN, control=False), pod="second")
    assert set(job_bench.result().models) == {"base", "hardened"}
