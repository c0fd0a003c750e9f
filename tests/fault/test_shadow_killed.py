"""A job killed in the middle of its shadow run resumes there."""

import os
import signal

import psutil
import pytest
from job_process import JobBench

from deploy.contract.canary import CanaryPlan
from deploy.contract.probe import ProbePlan
from deploy.contract.report import Report
from deploy.contract.spec import TrainingPlan

pytestmark = pytest.mark.slow

PLAN = TrainingPlan(
    n_epochs=6, batch_size=8, learning_rate=3e-3, max_tokens=64, seed=7, checkpoint_every_s=0.05
)
PROBING = ProbePlan(max_tasks=4, curve_tasks=0, max_new_tokens=8, engine="transformers", mined=0, searched=0)


def test_the_shadow_arms_go_on_from_their_checkpoints(job_bench: JobBench) -> None:
    changes = {"training": PLAN, "probing": PROBING, "canaries": CanaryPlan(count=1, rate=0.1)}
    process = job_bench.start(job_bench.spec(**changes))
    job_bench.wait_for(
        process,
        lambda event: (
            "checkpoint" in event.data
            and str(event.data["arm"]).startswith("shadow-")
            and event.data["step"] >= 7
        ),
    )
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(children, timeout=10)
    job_bench.run(job_bench.spec(attempt=2, **changes), pod="second")
    resumed = {event.data["arm"] for event in job_bench.events(2, "second") if "resumed" in event.message}
    # The real arms were done: they resume behind their last step, the shadow's somewhere in the middle.
    assert {"control", "hardened"} <= resumed
    assert resumed & {"shadow-control", "shadow-hardened"}
    report = Report.from_bytes(job_bench.store.get(job_bench.result().report.key))
    assert report.detection is not None
