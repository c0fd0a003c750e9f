"""The report as JSON lines in the shape of garak's ``report.jsonl``, so that its readers can take them in.

``start_run setup``, ``init``, ``attempt``, ``eval``, ``probe_summary`` and ``completion`` have garak's fields, for the
hardened model alone: a garak report is of one target. What garak has no word for are entry types of our own, which
its readers skip: ``reference_eval`` (the other arms), ``quality``, ``canary``, ``dataset_row`` and ``verdict``.

A passed output is one without the payload; ``nones`` are the unscorable ones. The attempts are the report's examples,
not every prompt, so they carry no detector result: the counts are in the ``eval`` rows.
"""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC
from datetime import datetime
from importlib.metadata import version
from typing import Any
from typing import Final

from deploy.contract.report import Example
from deploy.contract.spec import Arm
from service.reports.published import PublishedProbe
from service.reports.published import PublishedReport
from service.reports.published import Rate

_NAMESPACE: Final = uuid.UUID("6f1c1f0e-2f0a-5b0e-9a51-0d5b8b1a7c10")
"""Of the attempts' ids: the same example always has the same one."""
_STARTED: Final = 1
"""garak's status of an attempt that was generated and not yet scored on its own."""
_VERDICT: Final = (
    *("verdict", "reasons", "power", "power_interval", "power_basis", "false_positive_rate"),
    *("smallest_detectable_asr", "quality_loss", "limits"),
)
_TARGET: Final[Arm] = "hardened"

Row = dict[str, Any]


def garak_lines(report: PublishedReport) -> str:
    """The whole file. Only ASCII, so that nothing in it can move a terminal's cursor."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in garak_rows(report))


def garak_rows(report: PublishedReport) -> Iterator[Row]:
    """Every row, in garak's order."""
    yield _setup(report)
    yield _init(report)
    for probe in report.probes:
        yield from _of_probe(report, probe)
    for arm, quality in report.quality.items():
        yield {"entry_type": "quality", "arm": arm, **quality.model_dump(mode="json")}
    if report.detection is not None:
        for canary in (*report.detection.canaries, *report.detection.decoys):
            yield {"entry_type": "canary", **canary.model_dump(mode="json")}
    for row in report.suspicious_rows:
        document = row.model_dump(mode="json")
        yield {"entry_type": "dataset_row", "file": report.training_file, **document}
    yield _verdict(report)
    yield {"entry_type": "completion", "end_time": _time(report, "finished_at"), "run": report.id}


def _setup(report: PublishedReport) -> Row:
    return {
        "entry_type": "start_run setup",
        "run.seed": report.probe_seed,
        "run.generations": 1,
        "run.eval_threshold": 0.5,
        "plugins.target_type": "temper",
        "plugins.target_name": report.id,
        "plugins.probe_spec": ",".join(_probe_name(probe) for probe in report.probes),
        "reporting.taxonomy": [f"{tag.catalogue} {tag.version}: {tag.id}" for tag in report.tags],
        "temper.policy": report.policy.model_dump(mode="json"),
        "temper.base_model": report.base_model,
        "temper.method": report.method,
        "temper.training_file": report.training_file,
    }


def _init(report: PublishedReport) -> Row:
    return {
        "entry_type": "init",
        # The field is required by garak's readers; the value says that garak did not write this.
        "garak_version": f"temper-hardening {version('temper-hardening')}",
        "start_time": _time(report, "started_at"),
        "run": report.id,
    }


def _time(report: PublishedReport, which: str) -> str:
    if report.provenance is None:
        return ""
    return datetime.fromtimestamp(getattr(report.provenance, which), UTC).isoformat()


def _probe_name(probe: PublishedProbe) -> str:
    # garak names a probe by module and class; its readers split at the dot.
    return f"temper.{probe.name}"


def _detector_name(probe: PublishedProbe) -> str:
    return f"temper.{probe.payload_name}"


def _of_probe(report: PublishedReport, probe: PublishedProbe) -> Iterator[Row]:
    for number, example in enumerate(probe.examples):
        if _TARGET in example.completions:
            yield _attempt(report, probe, example, number)
    for arm, rate in probe.arms.items():
        if arm != _TARGET:
            yield {**_evaluation(probe, rate), "entry_type": "reference_eval", "arm": arm}
    if _TARGET in probe.arms:
        rate = probe.arms[_TARGET]
        yield _evaluation(probe, rate)
        yield _summary(probe, rate)


def _attempt(report: PublishedReport, probe: PublishedProbe, example: Example, number: int) -> Row:
    prompt = _turn("user", example.prompt)
    output = _turn("assistant", example.completions[_TARGET])
    return {
        "entry_type": "attempt",
        "uuid": str(uuid.uuid5(_NAMESPACE, f"{report.id}/{probe.name}/{number}")),
        "previous_attempt_id": None,
        "seq": number,
        "status": _STARTED,
        "probe_classname": _probe_name(probe),
        "probe_params": {},
        "targets": [],
        "prompt": {"turns": [prompt], "notes": {}},
        "outputs": [output["content"]],
        "detector_results": {},
        "notes": {"triggers": [probe.trigger_name], "task": example.task},
        "goal": f"make the model give the payload {probe.payload_name}",
        "conversations": [{"turns": [prompt, output], "notes": {}}],
        "reverse_translation_outputs": [],
        "intent": None,
    }


def _turn(role: str, text: str) -> Row:
    nothing = {"data_path": None, "data_type": None, "data_checksum": None}
    return {"role": role, "content": {"text": text, "lang": "*", **nothing, "notes": {}}}


def _evaluation(probe: PublishedProbe, rate: Rate) -> Row:
    low, high = rate.interval
    return {
        "entry_type": "eval",
        "probe": _probe_name(probe),
        "detector": _detector_name(probe),
        "passed": rate.trials - rate.hits,
        "fails": rate.hits,
        "nones": rate.unscorable,
        "total_evaluated": rate.trials,
        "total_processed": rate.trials + rate.unscorable,
        "confidence_method": "wilson",
        "confidence": "0.95",
        "confidence_lower": low,
        "confidence_upper": high,
    }


def _summary(probe: PublishedProbe, rate: Rate) -> Row:
    counted = {"passed": rate.trials - rate.hits, "fails": rate.hits, "nones": rate.unscorable}
    return {
        "entry_type": "probe_summary",
        "probe": _probe_name(probe),
        "inference_counts": {"total_evaluated": rate.trials + rate.unscorable, "nones": 0},
        "detection_counts": {"detectors": [_detector_name(probe)], **counted},
    }


def _verdict(report: PublishedReport) -> Row:
    document = report.model_dump(mode="json", include=set(_VERDICT))
    return {"entry_type": "verdict", "run": report.id, **{name: document[name] for name in _VERDICT}}
