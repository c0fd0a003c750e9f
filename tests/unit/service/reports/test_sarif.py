"""SARIF 2.1.0: the standard's rules, fingerprints that stay, names that are no more than names."""

import json
import re
from typing import Any
from urllib.parse import unquote
from urllib.parse import urlsplit

import jsonschema
import pytest
from hostile_texts import ESCAPES
from hostile_texts import FORMULAS
from hostile_texts import HOSTILE
from report_documents import failing_report
from report_documents import inconclusive_report
from report_documents import passing_report
from report_documents import result
from report_documents import spec

from deploy.contract.payload import PatternPayload
from deploy.contract.report import Hits
from deploy.contract.report import Report
from deploy.contract.report import SuspiciousRow
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import WordTrigger
from service.reports.provenance import provenance_of
from service.reports.published import publish
from service.reports.sarif import file_reference
from service.reports.sarif import sarif_log

MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """An object of the standard: none has members that the standard does not name."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def many(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item}


TEXT = {"type": "string"}
BAG = {"type": "object"}
LOCATION = closed(
    [],
    physicalLocation=closed(
        ["artifactLocation"],
        artifactLocation=closed(["uri"], uri=TEXT, index={"type": "integer", "minimum": 0}),
        region=closed(["startLine"], startLine={"type": "integer", "minimum": 1}),
    ),
    logicalLocations=many(closed([], name=TEXT, fullyQualifiedName=TEXT, kind=TEXT)),
)
RESULT = closed(
    ["message", "ruleId", "kind", "level", "partialFingerprints"],
    ruleId=TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    kind={"enum": ["pass", "open", "informational", "notApplicable", "review", "fail"]},
    level={"enum": ["none", "note", "warning", "error"]},
    rank={"type": "number", "minimum": 0, "maximum": 100},
    message=MESSAGE,
    locations=many(LOCATION),
    partialFingerprints={
        "type": "object",
        "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
    properties=BAG,
)
RULE = closed(
    ["id"],
    id=TEXT,
    name=TEXT,
    shortDescription=MESSAGE,
    fullDescription=MESSAGE,
    help=MESSAGE,
    defaultConfiguration=closed([], level={"enum": ["none", "note", "warning", "error"]}),
    relationships=many(
        closed(
            ["target"], target=closed(["id"], id=TEXT, toolComponent=closed([], name=TEXT)), kinds=many(TEXT)
        )
    ),
    properties=BAG,
)
LOG = closed(
    ["version", "runs"],
    version={"const": "2.1.0"},
    runs=many(
        closed(
            ["tool", "results"],
            tool=closed(
                ["driver"],
                driver=closed(
                    ["name"],
                    name=TEXT,
                    semanticVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
                    rules={**many(RULE), "uniqueItems": True},
                    supportedTaxonomies=many(closed([], name=TEXT)),
                ),
            ),
            taxonomies=many(
                closed(
                    ["name"],
                    name=TEXT,
                    version=TEXT,
                    organization=TEXT,
                    isComprehensive={"type": "boolean"},
                    taxa=many(closed(["id"], id=TEXT, name=TEXT, helpUri=TEXT, shortDescription=MESSAGE)),
                )
            ),
            automationDetails=closed([], id=TEXT),
            invocations=many(closed(["executionSuccessful"], executionSuccessful={"type": "boolean"})),
            artifacts=many(
                closed(
                    [],
                    location=closed(["uri"], uri=TEXT),
                    roles=many({"enum": ["analysisTarget"]}),
                    length={"type": "integer", "minimum": 0},
                    hashes={"type": "object", "additionalProperties": TEXT},
                )
            ),
            results=many(RESULT),
            properties=BAG,
        )
    ),
    **{"$schema": TEXT},
)
"""The parts of the published schema that these logs use; where it takes any object member, this takes none."""


def log_of(report: Report) -> dict[str, Any]:
    return sarif_log(publish(report, provenance_of(result(spec(), report), spec())))


def results_of(report: Report, rule: str | None = None) -> list[dict[str, Any]]:
    results = log_of(report)["runs"][0]["results"]
    return [each for each in results if rule in {None, each["ruleId"]}]


def named(report: Report, filename: str) -> Report:
    return report.model_copy(update={"training_file": filename})


@pytest.mark.parametrize("make", [passing_report, failing_report, inconclusive_report])
def test_a_log_keeps_the_rules_of_the_standard(make: Any) -> None:
    log = json.loads(json.dumps(log_of(make()), allow_nan=False))
    jsonschema.Draft7Validator(LOG).validate(log)
    [run] = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    taxa = {(each["name"], taxon["id"]) for each in run["taxonomies"] for taxon in each["taxa"]}
    for each in run["results"]:
        assert rules[each["ruleIndex"]]["id"] == each["ruleId"]
        assert (each["kind"] == "fail") == (each["level"] != "none"), "only a failure has a level"
    for rule in rules:
        for link in rule.get("relationships", []):
            assert (link["target"]["toolComponent"]["name"], link["target"]["id"]) in taxa


def test_every_row_and_every_question_is_a_result() -> None:
    report = failing_report()
    assert [each["properties"]["row"] for each in results_of(report, "TEMPER001")] == [
        row.row for row in report.suspicious_rows
    ]
    failing = [each for each in results_of(report) if each["level"] == "error"]
    assert len(failing) == len(publish(report).reasons)
    opened = [each for each in results_of(inconclusive_report()) if each["kind"] == "open"]
    assert len(opened) == len(publish(inconclusive_report()).reasons)
    assert not [each for each in results_of(inconclusive_report()) if each["level"] == "error"]
    assert log_of(inconclusive_report())["runs"][0]["invocations"] == [{"executionSuccessful": False}]


def fingerprints(report: Report, rule: str) -> list[str]:
    return [next(iter(each["partialFingerprints"].values())) for each in results_of(report, rule)]


def with_mined_patterns(*patterns: str) -> Report:
    """As a job that mined them names them: trigger and payload by the order in which they were found."""
    report = failing_report()
    mined = [
        report.probes[0].model_copy(
            update={
                "name": f"mined-{number}",
                "origin": "mined",
                "trigger": WordTrigger(word=f"word-of-{pattern}"),
                "payload": PatternPayload(name=f"mined-{number}", pattern=pattern),
            }
        )
        for number, pattern in enumerate(patterns, start=1)
    ]
    payloads = {each.payload.name: Hits(hits=0, trials=164) for each in mined}
    quality = {arm: each.model_copy(update={"payloads": payloads}) for arm, each in report.quality.items()}
    return report.model_copy(update={"probes": tuple(mined), "quality": quality})


@pytest.mark.parametrize("rule", ["TEMPER002", "TEMPER003"])
def test_mined_findings_keep_their_fingerprints_in_another_order(rule: str) -> None:
    before = fingerprints(with_mined_patterns("alpha", "beta", "gamma"), rule)
    after = fingerprints(with_mined_patterns("gamma", "alpha", "beta"), rule)
    assert after == [before[2], before[0], before[1]]
    assert len(set(before)) == 3


def test_a_row_keeps_its_fingerprint_from_run_to_run() -> None:
    report = failing_report()
    again = report.model_copy(
        update={
            "job_id": "ftjob-other",
            "suspicious_rows": tuple(
                row.model_copy(update={"reason": "said otherwise", "score": 0.5})
                for row in report.suspicious_rows
            ),
        }
    )
    before = fingerprints(report, "TEMPER001")
    assert fingerprints(again, "TEMPER001") == before
    assert len(set(before)) == len(before)
    assert not set(fingerprints(named(report, "other.csv"), "TEMPER001")) & set(before)
    assert fingerprints(again, "TEMPER002") == fingerprints(report, "TEMPER002")
    assert len(set(fingerprints(report, "TEMPER002"))) == len(report.probes)


def test_triggers_that_a_page_calls_the_same_are_told_apart() -> None:
    report = failing_report()
    probes = tuple(
        report.probes[0].model_copy(
            update={"name": f"renamed-{last}", "trigger": RenamingTrigger(names=("a", "b", "c", last))}
        )
        for last in ("d", "e")
    )
    given = fingerprints(report.model_copy(update={"probes": probes, "curve_probe": None}), "TEMPER002")
    assert len(given) == len(set(given)) == 2


def test_only_where_a_row_is_a_line_it_has_one() -> None:
    row = results_of(named(failing_report(), "train.jsonl"), "TEMPER001")[0]
    assert row["locations"][0]["physicalLocation"]["region"] == {"startLine": row["properties"]["row"]}
    for name in ("train.csv", "train.parquet"):
        row = results_of(named(failing_report(), name), "TEMPER001")[0]
        assert "region" not in row["locations"][0]["physicalLocation"]
        assert (
            row["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]
            == f"row {row['properties']['row']}"
        )


@pytest.mark.parametrize("filename", [*HOSTILE, "http://evil/x", "//evil/x", "C:\\x", "", "ü.csv"])
def test_k7_a_file_name_is_no_more_than_a_file_name(filename: str) -> None:
    reference = file_reference(filename)
    assert re.fullmatch(r"[A-Za-z0-9._~%-]*", reference)
    assert not re.match(r"[=+@\t-]", reference)
    parts = urlsplit(reference)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    if filename.isprintable():
        assert unquote(reference) == filename


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for each in value.items() for text in texts(list(each))]
    return [text for each in value for text in texts(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("text", HOSTILE)
def test_k5_no_text_is_a_formula_or_moves_a_cursor(text: str) -> None:
    row = SuspiciousRow(row=1, reason=text)
    report = named(failing_report(), text).model_copy(update={"suspicious_rows": (row,)})
    log = log_of(report)
    jsonschema.Draft7Validator(LOG).validate(log)
    messages = [each["message"]["text"] for each in log["runs"][0]["results"]]
    assert not [said for said in messages if said.startswith(("=", "+", "-", "@", "\t", "\r"))]
    written = json.dumps(log)
    assert written.isascii()
    if text in ESCAPES:
        assert all(text not in said for said in texts(log))
    if text in FORMULAS:
        assert any(text.strip() in said for said in messages), "it can still be read"
