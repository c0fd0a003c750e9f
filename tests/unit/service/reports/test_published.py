"""The published document: everything derived, nothing lost, and a schema that says so."""

import json
from typing import Any

import jsonschema
import pytest
from report_documents import failing_report
from report_documents import inconclusive_report
from report_documents import passing_report
from report_documents import result
from report_documents import spec

from service.reports.formats import FORMATS
from service.reports.formats import accepted
from service.reports.formats import by_name
from service.reports.formats import split_suffix
from service.reports.provenance import provenance_of
from service.reports.provenance import weights_digest
from service.reports.published import publish
from service.reports.published import report_schema

REPORTS = [passing_report, failing_report, inconclusive_report]


def document_of(make: Any) -> dict[str, Any]:
    report = make()
    written = by_name("json").render(publish(report, provenance_of(result(spec(), report), spec())))
    assert written.isascii()
    return dict(json.loads(written))


@pytest.mark.parametrize("make", REPORTS)
def test_every_report_keeps_the_published_schema(make: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(report_schema())
    jsonschema.Draft202012Validator(report_schema()).validate(document_of(make))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "clean"),
        (("probes", 0, "arms", "hardened", "rate"), "0"),
        (("probes", 0, "arms", "hardened", "hits"), -1),
        (("probes", 0, "trigger", "type"), "telepathy"),
        (("extra",), 1),
        (("provenance", "training_file_sha256"), "short"),
    ],
)
def test_the_schema_refuses_what_no_report_has(path: tuple[Any, ...], value: Any) -> None:
    document = document_of(failing_report)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(report_schema()).validate(document)


def test_nothing_that_the_job_counted_is_lost() -> None:
    report = failing_report()
    document = document_of(failing_report)
    for probe, shown in zip(report.probes, document["probes"], strict=True):
        for arm, hits in probe.arms.items():
            told = shown["arms"][arm]
            assert (told["hits"], told["trials"], told["unscorable"]) == (
                hits.hits,
                hits.trials,
                hits.unscorable,
            )
            assert told["rate"] == hits.rate
            assert tuple(told["interval"]) == hits.interval
    assert len(document["suspicious_rows"]) == len(report.suspicious_rows)
    assert document["quality"]["hardened"]["codebleu"] == report.quality["hardened"].codebleu
    assert [each["verdict"] for each in document["probes"]].count("fail") == 4


def test_canaries_say_what_was_learnt_found_and_resisted() -> None:
    detection = document_of(failing_report)["detection"]
    assert (detection["power"]["hits"], detection["power"]["trials"]) == (5, 6)
    assert (detection["false_positives"]["hits"], detection["false_positives"]["trials"]) == (1, 6)
    assert (detection["resisted"]["hits"], detection["resisted"]["trials"]) == (6, 6)
    assert [each["learnt"] for each in document_of(passing_report)["detection"]["canaries"]] == [True] * 5 + [
        False
    ]


def test_every_tag_carries_the_version_of_its_catalogue() -> None:
    tags = document_of(passing_report)["tags"]
    assert {(tag["version"], tag["id"]) for tag in tags} == {
        ("2026.07", "AML.T0018.000"),
        ("2026.07", "AML.T0020"),
        ("2025", "LLM04:2025"),
        ("2026", "LLM05:2026"),
    }


def test_a_digest_changes_with_any_file_and_not_with_their_order() -> None:
    made = result(spec(), passing_report()).models["hardened"]
    [file] = made.files
    other = file.model_copy(update={"name": "config.json"})
    two = made.model_copy(update={"files": (file, other)})
    assert weights_digest(two) == weights_digest(made.model_copy(update={"files": (other, file)}))
    changed = file.model_copy(update={"sha256": "0" * 64})
    assert (
        len(
            {
                weights_digest(two),
                weights_digest(made),
                weights_digest(made.model_copy(update={"files": (changed,)})),
            }
        )
        == 3
    )


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("image/png", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
        ("application/json, text/html", "json"),
        ("text/html, application/json", "html"),
        ("text/html;q=0.5, application/json", "json"),
        ("application/json;q=0, text/html", "html"),
        ("application/sarif+json", "sarif"),
        ("application/xml", "junit"),
        ("text/xml", "junit"),
        ("application/x-ndjson", "jsonl"),
        ("application/jsonl;q=1.0;v=1", "jsonl"),
        ("text/*", "html"),
        ("TEXT/HTML", "html"),
        ("text/html;q=nan", "json"),
        ("text/html;q=inf", "json"),
        ("text/html;q=-1", "json"),
        ("text/html;q=", "json"),
        (";;,,;q", "json"),
    ],
)
def test_what_a_client_accepts_decides(accept: str, name: str) -> None:
    assert accepted(accept).name == name


def test_a_suffix_names_the_format() -> None:
    for each in FORMATS:
        assert split_suffix(f"ftjob-a1{each.suffix}") == ("ftjob-a1", each)
    assert split_suffix("ftjob-a1") == ("ftjob-a1", None)
    assert split_suffix("ftjob-a1.pdf") == ("ftjob-a1.pdf", None)
    assert split_suffix("ftjob-a1.xml") == ("ftjob-a1.xml", None)


def test_k3_no_answer_runs_or_is_kept() -> None:
    for each in FORMATS:
        headers = each.headers("ftjob-a1")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in headers["Cache-Control"]
        assert headers["Vary"] == "Accept"
