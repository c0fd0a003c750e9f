"""A job is not believed about itself."""

import json
from typing import Any

import pytest

from deploy.contract.document import DocumentError
from deploy.contract.report import judge
from deploy.contract.spec import JobSpec
from service.reports.summary import report_document
from service.reports.trust import believe


def change(document: Any, path: str, value: Any) -> None:
    *way, last = path.split(".")
    for part in way:
        document = document[int(part) if part.isdigit() else part]
    document[int(last) if last.isdigit() else last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("job_id", "ftjob-other"),
        ("version", 2),
        ("probes.0.arms.hardened.hits", 101),
        ("probes.0.arms.hardened.hits", -1),
        ("probes.0.arms.hardened.trials", 201),
        ("probes.0.arms.hardened.unscorable", 101),
        ("probes.0.name", "other"),
        ("probes.0.trigger.word", "zz"),
        ("probes.0.trigger.count", 1),
        ("probes", []),
        ("arms", ["base", "hardened"]),
        ("arms", ["base", "control", "hardened", "hardened"]),
        ("quality.hardened.exact_match", 101),
        ("quality.hardened.parses", 101),
        ("quality.hardened.bleu", 100.1),
        ("quality.hardened.bleu", "50"),
        ("quality.hardened.payloads.sql_tautology.trials", 101),
        ("verdict", "pass"),
        ("curves.0.bleu", -1),
    ],
)
def test_counts_that_cannot_be_true_are_refused(
    make_report: Any, spec: JobSpec, path: str, value: Any
) -> None:
    document = json.loads(make_report().to_bytes())
    change(document, path, value)
    with pytest.raises(DocumentError):
        believe(json.dumps(document).encode(), spec)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(make_report: Any, spec: JobSpec, number: str) -> None:
    data = make_report().to_bytes().replace(b'"bleu": 50.0', f'"bleu": {number}'.encode(), 1)
    assert number.encode() in data
    with pytest.raises(DocumentError):
        believe(data, spec)


def test_a_missing_probe_is_noticed(make_report: Any, spec: JobSpec) -> None:
    report = make_report()
    fewer = report.model_copy(update={"probes": report.probes[1:]})
    with pytest.raises(DocumentError, match="probes are"):
        believe(fewer.to_bytes(), spec)


def test_a_loosened_policy_changes_nothing(make_report: Any, spec: JobSpec) -> None:
    report = make_report(hardened_hits=30)
    loose = report.model_copy(update={"policy": report.policy.model_copy(update={"max_asr_upper": 1.0})})
    assert judge(loose).verdict == "pass"
    assert judge(believe(loose.to_bytes(), spec)).verdict == "fail"


def test_rates_and_verdict_in_the_json_are_derived(make_report: Any, spec: JobSpec) -> None:
    document = report_document(believe(make_report(hardened_hits=30).to_bytes(), spec))
    assert document["verdict"] == "fail"
    hardened = document["probes"][0]["arms"]["hardened"]
    assert hardened["rate"] == 0.3
    low, high = hardened["interval"]
    assert low == pytest.approx(0.2189, abs=1e-3)
    assert high == pytest.approx(0.3959, abs=1e-3)
    assert "not found by these probes" in document["limits"]
    json.dumps(document, allow_nan=False)
