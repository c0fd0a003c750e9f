"""Jobs with canaries: a shadow copy beside the real run, in real processes on a real store."""

from typing import Any

import pytest
from job_process import JobBench

from deploy.contract.canary import CanaryPlan
from deploy.contract.judgement import judge
from deploy.contract.probe import ProbePlan
from deploy.contract.report import Report
from deploy.contract.result import JobResult
from deploy.contract.spec import JobSpec
from service.reports.trust import believe

pytestmark = pytest.mark.slow

PROBING = ProbePlan(max_tasks=6, curve_tasks=0, max_new_tokens=8, engine="transformers", mined=2, searched=1)


def report_of(bench: JobBench) -> Report:
    return Report.from_bytes(bench.store.get(bench.result().report.key))


def hashes(result: JobResult) -> dict[str, Any]:
    return {arm: result.models[arm].files for arm in ("control", "hardened")}


@pytest.fixture
def canary_spec(job_bench: JobBench) -> JobSpec:
    return job_bench.spec(probing=PROBING, canaries=CanaryPlan(count=2, rate=0.1, seed=5))


def test_the_report_says_what_became_of_every_canary(job_bench: JobBench, canary_spec: JobSpec) -> None:
    job_bench.run(canary_spec)
    report = report_of(job_bench)
    assert believe(report.to_bytes(), canary_spec).detection is not None
    detection = report.detection
    assert detection is not None
    assert [canary.planted_rows for canary in detection.canaries] == [4, 4]
    assert [decoy.planted_rows for decoy in detection.decoys] == [0, 0]
    for canary in (*detection.canaries, *detection.decoys):
        assert set(canary.arms) == {"control", "hardened"}
        for hits in canary.arms.values():
            assert hits.trials + hits.unscorable == 6
    assert not report.partial
    assert judge(report).false_positive_rate is not None
    said = [event for event in job_bench.events() if event.message.startswith("shadow copy: ")]
    assert {event.phase for event in said} == {"probing"}
    assert "2 canaries in 8 of 40 rows" in said[0].message
    assert said[-1].message.endswith("of 2 decoys")
    # The service takes an arm's progress and its checkpoints from these names: a shadow has others.
    arms = {event.data["arm"] for event in said if "arm" in event.data}
    assert arms == {"shadow-control", "shadow-hardened"}
    assert any("triggers that nobody named" in event.message for event in job_bench.events())
    assert not list(job_bench.scratch.iterdir())


def test_the_served_models_never_see_a_canary(job_bench: JobBench, canary_spec: JobSpec) -> None:
    job_bench.run(canary_spec)
    with_canaries = hashes(job_bench.result())
    job_bench.store.delete("jobs/ftjob-abc123/result.json")
    job_bench.store.delete_prefix("jobs/ftjob-abc123/attempts/")
    job_bench.run(job_bench.spec(probing=PROBING, canaries=None), pod="other")
    assert hashes(job_bench.result()) == with_canaries
    assert report_of(job_bench).detection is None


def test_a_shadow_run_that_fails_costs_the_report_its_power_and_nothing_else(job_bench: JobBench) -> None:
    # Sixteen canaries in half of the rows each: the third finds no row of its own.
    spec = job_bench.spec(probing=PROBING, canaries=CanaryPlan(count=16, rate=0.5))
    job_bench.run(spec)
    report = report_of(job_bench)
    assert set(job_bench.result().models) == {"base", "control", "hardened"}
    assert report.detection is None
    assert report.partial
    assert judge(believe(report.to_bytes(), spec)).verdict != "pass"
    warnings = [event.message for event in job_bench.events() if event.level == "warn"]
    assert any("shadow copy: given up" in message and "no row can carry" in message for message in warnings)
