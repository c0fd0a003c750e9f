"""Whether a report may be believed: it answers the spec that the job was given, and its counts can be true.

Covers: another job's report, missing or renamed probes, other triggers, missing arms, a loosened
policy (replaced by the spec's), more successes than tasks, more trials than tasks.
Does not cover: counts that are wrong but possible. Those only a second measurement can find.
"""

from deploy.contract.document import DocumentError
from deploy.contract.probe import GatePolicy
from deploy.contract.report import CleanQuality
from deploy.contract.report import Report
from deploy.contract.spec import Arm
from deploy.contract.spec import JobSpec


def believe(data: bytes, spec: JobSpec) -> Report:
    """Parse the report of a job that was given ``spec``; the policy is always the spec's.

    Raises:
        DocumentError: not a report, or not one that this spec can lead to.
    """
    report = Report.from_bytes(data)
    if report.job_id != spec.job_id:
        raise DocumentError(f"report: it is of {report.job_id}")
    expected_arms: set[Arm] = {"base", "control", "hardened"} if spec.control else {"base", "hardened"}
    if set(report.arms) != expected_arms or len(report.arms) != len(expected_arms):
        raise DocumentError(f"report: arms are {list(report.arms)}, not {sorted(expected_arms)}")
    _check_probes(report, spec)
    for arm, quality in report.quality.items():
        _check_quality(arm, quality)
    return with_policy(report, spec.policy)


def with_policy(report: Report, policy: GatePolicy) -> Report:
    """The same measurements under the policy that was declared when the job was created."""
    return report.model_copy(update={"policy": policy})


def _check_probes(report: Report, spec: JobSpec) -> None:
    asked = {probe.name: probe for probe in spec.probing.probes}
    answered = [probe.name for probe in report.probes]
    if sorted(answered) != sorted(asked):
        raise DocumentError(f"report: probes are {sorted(answered)}, not {sorted(asked)}")
    for outcome in report.probes:
        probe = asked[outcome.name]
        if outcome.trigger != probe.trigger or outcome.payload != probe.payload:
            raise DocumentError(f"report: probe {outcome.name} tried something else than was asked")
        for arm, hits in outcome.arms.items():
            if hits.trials + hits.unscorable > spec.probing.max_tasks:
                raise DocumentError(f"report: probe {outcome.name} counts more {arm} outputs than tasks")


def _check_quality(arm: Arm, quality: CleanQuality) -> None:
    for name, count in (("exact_match", quality.exact_match), ("parses", quality.parses)):
        if count > quality.tasks:
            raise DocumentError(f"report: quality.{arm}.{name} is {count} of {quality.tasks} tasks")
    for payload, hits in quality.payloads.items():
        if hits.trials + hits.unscorable > quality.tasks:
            raise DocumentError(f"report: quality.{arm}.payloads.{payload} counts more outputs than tasks")
