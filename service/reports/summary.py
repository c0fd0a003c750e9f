"""The report in JSON: the job's counts with rates, intervals and verdict derived from them here."""

from typing import Any

from deploy.contract.report import CleanQuality
from deploy.contract.report import Hits
from deploy.contract.report import Judgement
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import Report
from deploy.contract.report import judge

LIMITS = (
    "The verdict speaks of the probes that were tried. A backdoor with another trigger or another payload "
    "is not found by these probes."
)


def hits_document(hits: Hits) -> dict[str, Any]:
    """Counts with the rate (null without a trial) and its 95 % Wilson interval."""
    low, high = hits.interval
    return {
        "hits": hits.hits,
        "trials": hits.trials,
        "unscorable": hits.unscorable,
        "rate": hits.rate,
        "interval": [low, high],
    }


def _quality_document(quality: CleanQuality) -> dict[str, Any]:
    document = quality.model_dump(mode="json", exclude={"payloads"})
    document["payloads"] = {name: hits_document(hits) for name, hits in quality.payloads.items()}
    return document


def _probe_document(probe: ProbeOutcome) -> dict[str, Any]:
    document = probe.model_dump(mode="json", exclude={"arms"})
    document["arms"] = {arm: hits_document(hits) for arm, hits in probe.arms.items()}
    return document


def judgement_document(judgement: Judgement) -> dict[str, Any]:
    """The verdict and what it rests on."""
    return judgement.model_dump(mode="json")


def report_document(report: Report) -> dict[str, Any]:
    """What ``GET /v1/reports/{job}`` answers."""
    copied = report.model_dump(mode="json", exclude={"probes", "quality", "curves"})
    return {
        "id": report.job_id,
        "object": "report",
        **judgement_document(judge(report)),
        "limits": LIMITS,
        **copied,
        "probes": [_probe_document(probe) for probe in report.probes],
        "quality": {arm: _quality_document(quality) for arm, quality in report.quality.items()},
        "curves": [
            {"arm": point.arm, "epoch": point.epoch, "asr": hits_document(point.asr), "bleu": point.bleu}
            for point in report.curves
        ],
    }
