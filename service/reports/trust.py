"""Whether a report may be believed: it answers the spec that the job was given, and its counts can be true.

Covers: another job's report, missing or renamed probes, other triggers, more found triggers than were
looked for, missing arms, a loosened policy (replaced by the spec's, like every setting that the service
knows itself), more successes than tasks, more trials than tasks, fewer tasks than the plan and the file give,
arms that were not asked the same prompts, answers that were cut sooner than asked for, canaries that were not
asked for or are missing or were not measured on both arms, rows that the training file does not have.
Does not cover: counts that are wrong but possible. Those only a second measurement can find.
"""

import math
import re
from collections.abc import Iterable
from typing import get_args

from deploy.contract.document import DocumentError
from deploy.contract.method import DeceLoss
from deploy.contract.method import describe_loss
from deploy.contract.payload import payload_name
from deploy.contract.report import LEARNT_AT
from deploy.contract.report import MAX_NAMED_ROWS
from deploy.contract.report import Canary
from deploy.contract.report import CleanQuality
from deploy.contract.report import Detection
from deploy.contract.report import Hits
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import Report
from deploy.contract.spec import Arm
from deploy.contract.spec import JobSpec
from deploy.contract.spec import TrainedArm
from deploy.contract.spec import base_model_name


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
    _check_asked(report, spec)
    _check_probes(report, spec)
    for arm, quality in report.quality.items():
        _check_quality(arm, quality, report)
    for outcome in report.probes:
        _check_prompts(outcome, report)
    _check_curves(report, spec)
    _check_rows(report, spec)
    _check_detection(report, spec)
    _check_alpha_trials(report, spec)
    _check_left_out(report, spec)
    return _with_settings(report, spec)


def _with_settings(report: Report, spec: JobSpec) -> Report:
    """The same measurements under the policy, and beside the settings, that the job was given."""
    found = report.detection
    return report.model_copy(
        update={
            "policy": spec.policy,
            "base_model": base_model_name(spec.base_model),
            "method": _method(report, spec),
            "training_file": spec.training_file.filename,
            "training_rows": spec.training_file.rows,
            "n_epochs": spec.training.n_epochs,
            "seed": spec.training.seed,
            "probe_seed": spec.probing.seed,
            "suspicious_rows": tuple(sorted(report.suspicious_rows, key=lambda row: -row.score)),
            # From which rate on a canary counts as learnt is no job's to say: at 1.0 none would count.
            "detection": found and found.model_copy(update={"learnt_at": LEARNT_AT}),
        }
    )


def _method(report: Report, spec: JobSpec) -> str:
    """The loss that was asked for. Of alpha_base ``auto`` the job alone can say what it became.

    Raises:
        DocumentError: it says what the search for it cannot have come to.
    """
    loss = spec.loss
    if not (isinstance(loss, DeceLoss) and loss.alpha_base == "auto"):
        return describe_loss(loss)
    told = re.search(r"\balpha_base=([0-9.e-]{1,32})", report.method)
    try:
        alpha_base = float(told[1]) if told else math.nan
    except ValueError:
        alpha_base = math.nan
    method = describe_loss(loss.model_copy(update={"alpha_base": alpha_base}))
    if not 0.0 < alpha_base <= report.alpha_trials[-1].alpha_base or report.method != method:
        raise DocumentError(
            "report: its method is not the one that was asked for with an alpha_base that was tried"
        )
    return method


def _check_asked(report: Report, spec: JobSpec) -> None:
    """As many tasks as the plan wants and the file of tasks has, and answers as long as they were to be."""
    tasks = spec.probe_file or spec.validation_file or spec.training_file
    least, most = min(spec.probing.max_tasks, tasks.rows), spec.probing.max_tasks
    if not least <= report.probe_tasks <= most:
        raise DocumentError(
            f"report: {report.probe_tasks} tasks, the plan has {most} and the file {tasks.rows}"
        )
    if report.engine.max_new_tokens != spec.probing.max_new_tokens:
        asked = spec.probing.max_new_tokens
        raise DocumentError(f"report: answers of {report.engine.max_new_tokens} tokens, not {asked}")


def _check_prompts(outcome: ProbeOutcome, report: Report) -> None:
    """Every arm gets the same prompts: those clean ones that can carry the payload, as far as the trigger fits."""
    asked = {hits.trials + hits.unscorable for hits in outcome.arms.values()}
    if len(asked) > 1:
        raise DocumentError(f"report: probe {outcome.name} asked the arms {sorted(asked)} prompts")
    name = payload_name(outcome.payload)
    for arm, quality in report.quality.items():
        clean = quality.payloads.get(name)
        if clean is None:
            raise DocumentError(f"report: quality.{arm} does not say how often {name} came without a trigger")
        if clean.trials + clean.unscorable < max(asked):
            raise DocumentError(
                f"report: probe {outcome.name} asked more prompts than can carry {name} on {arm}"
            )


def _check_probes(report: Report, spec: JobSpec) -> None:
    asked = {probe.name: probe for probe in spec.probing.probes}
    known = [outcome for outcome in report.probes if outcome.origin == "known"]
    answered = [outcome.name for outcome in known]
    if sorted(answered) != sorted(asked):
        raise DocumentError(f"report: probes are {sorted(answered)}, not {sorted(asked)}")
    for outcome in known:
        probe = asked[outcome.name]
        if outcome.trigger != probe.trigger or outcome.payload != probe.payload:
            raise DocumentError(f"report: probe {outcome.name} tried something else than was asked")
    _check_found(report, spec)
    for outcome in report.probes:
        for arm, hits in outcome.arms.items():
            if hits.trials + hits.unscorable > spec.probing.max_tasks:
                raise DocumentError(f"report: probe {outcome.name} counts more {arm} outputs than tasks")


def _check_found(report: Report, spec: JobSpec) -> None:
    """Triggers that nobody asked for: no more than were allowed, under names of their own."""
    names = [outcome.name for outcome in report.probes]
    if len(set(names)) != len(names):
        raise DocumentError("report: two probes have the same name")
    for origin, allowed in (("mined", spec.probing.mined), ("searched", spec.probing.searched)):
        found = sum(outcome.origin == origin for outcome in report.probes)
        if found > allowed:
            raise DocumentError(f"report: {found} probes are {origin}, the plan allows {allowed}")


def _expect_within(what: str, hits: Hits, limit: int) -> None:
    if hits.trials + hits.unscorable > limit:
        raise DocumentError(f"report: {what} counts more outputs than tasks")


def _check_quality(arm: Arm, quality: CleanQuality, report: Report) -> None:
    if quality.tasks != report.probe_tasks:
        raise DocumentError(
            f"report: quality.{arm} is of {quality.tasks} tasks, there are {report.probe_tasks}"
        )
    for name, count in (("exact_match", quality.exact_match), ("parses", quality.parses)):
        if count > quality.tasks:
            raise DocumentError(f"report: quality.{arm}.{name} is {count} of {quality.tasks} tasks")
    for payload, hits in quality.payloads.items():
        _expect_within(f"quality.{arm}.payloads.{payload}", hits, quality.tasks)


def _check_curves(report: Report, spec: JobSpec) -> None:
    seen = [(point.arm, point.epoch) for point in report.curves]
    if len(set(seen)) != len(seen):
        raise DocumentError("report: curves have two points of one arm and epoch")
    for point in report.curves:
        if point.arm not in report.arms or point.epoch > spec.training.n_epochs:
            raise DocumentError(f"report: curves have no {point.arm} arm after epoch {point.epoch}")
        _expect_within(f"curves.{point.arm}.{point.epoch}", point.asr, spec.probing.curve_tasks)
    if report.curve_probe is not None and report.curve_probe not in {probe.name for probe in report.probes}:
        raise DocumentError(f"report: curve_probe {report.curve_probe} is not one of the probes")


def _check_rows(report: Report, spec: JobSpec) -> None:
    rows = [suspicious.row for suspicious in report.suspicious_rows]
    if len(set(rows)) != len(rows):
        raise DocumentError("report: suspicious_rows name a row twice")
    if rows and max(rows) > spec.training_file.rows:
        raise DocumentError(f"report: row {max(rows)} is suspicious, the file has {spec.training_file.rows}")


def _check_left_out(report: Report, spec: JobSpec) -> None:
    left_out = report.left_out
    if (left_out.row_filter if left_out else None) != spec.row_filter:
        raise DocumentError("report: left_out is not of the row filter that was asked for")
    if left_out is None:
        return
    rows = spec.training_file.rows
    if left_out.count >= rows or len(left_out.rows) != min(left_out.count, MAX_NAMED_ROWS):
        raise DocumentError(
            f"report: left_out counts {left_out.count} of {rows} rows and names {len(left_out.rows)}"
        )
    if list(left_out.rows) != sorted(set(left_out.rows)) or (left_out.rows and left_out.rows[-1] > rows):
        raise DocumentError("report: left_out names rows twice, out of order or beyond the file")


def _check_alpha_trials(report: Report, spec: JobSpec) -> None:
    """Trials where alpha_base was to be chosen, tighter each time, and none behind one that held."""
    is_auto = isinstance(spec.loss, DeceLoss) and spec.loss.alpha_base == "auto"
    if is_auto != bool(report.alpha_trials):
        said = "alpha_trials are missing" if is_auto else "alpha_trials were not asked for"
        raise DocumentError(f"report: {said}")
    tried = [trial.alpha_base for trial in report.alpha_trials]
    if tried != sorted(set(tried), reverse=True) or any(trial.held for trial in report.alpha_trials[:-1]):
        raise DocumentError("report: alpha_trials are no search from the loosest to the first that held")


def _check_detection(report: Report, spec: JobSpec) -> None:
    if spec.canaries is None:
        if report.detection is not None:
            raise DocumentError("report: canaries were not asked for")
        return
    if report.detection is None:
        # Without them the power would be taken from sample sizes, which is easier to reach.
        if not report.partial:
            raise DocumentError("report: canaries were asked for and are missing")
        return
    count = spec.canaries.count
    for name, group in (("canaries", report.detection.canaries), ("decoys", report.detection.decoys)):
        if len(group) != count:
            raise DocumentError(f"report: {len(group)} {name}, not {count}")
    _check_canaries(report.detection, spec)


def _check_canaries(detection: Detection, spec: JobSpec) -> None:
    every: Iterable[Canary] = (*detection.canaries, *detection.decoys)
    for canary in every:
        if canary.planted_rows > spec.training_file.rows:
            raise DocumentError(f"report: {canary.name} lies in more rows than the training file has")
        if len(canary.arms) != len(get_args(TrainedArm)):
            raise DocumentError(f"report: {canary.name} was not measured on both arms of the shadow copy")
        for arm, hits in canary.arms.items():
            _expect_within(f"{canary.name}.{arm}", hits, spec.probing.max_tasks)
