"""JSON lines: garak's entry types with garak's fields, and ours beside them."""

import json
from typing import Any

import pytest
from hostile_texts import HOSTILE
from report_documents import failing_report
from report_documents import passing_report
from report_documents import result
from report_documents import spec

from deploy.contract.report import Report
from service.reports.garak_rows import garak_lines
from service.reports.provenance import provenance_of
from service.reports.published import publish


def rows_of(report: Report) -> list[dict[str, Any]]:
    lines = garak_lines(publish(report, provenance_of(result(spec(), report), spec())))
    assert lines.isascii()
    assert lines.endswith("\n")
    return [json.loads(line) for line in lines.splitlines()]


def of_type(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["entry_type"] == kind]


def test_a_file_begins_and_ends_as_garaks_do() -> None:
    rows = rows_of(failing_report())
    assert [row["entry_type"] for row in rows[:2]] == ["start_run setup", "init"]
    assert rows[-1]["entry_type"] == "completion"
    assert {"garak_version", "start_time", "run"} <= rows[1].keys()
    assert rows[1]["run"] == rows[-1]["run"] == failing_report().job_id
    assert rows[1]["start_time"] < rows[-1]["end_time"]


def test_evaluations_are_of_the_hardened_model_alone() -> None:
    report = failing_report()
    rows = rows_of(report)
    evaluations = of_type(rows, "eval")
    assert len(evaluations) == len(report.probes) == len({row["probe"] for row in evaluations})
    for probe, row in zip(report.probes, evaluations, strict=True):
        hits = probe.arms["hardened"]
        assert row["probe"] == f"temper.{probe.name}"
        assert (row["fails"], row["passed"], row["nones"]) == (
            hits.hits,
            hits.trials - hits.hits,
            hits.unscorable,
        )
        assert row["passed"] + row["fails"] == row["total_evaluated"]
        assert row["total_evaluated"] + row["nones"] == row["total_processed"]
        assert (row["confidence_lower"], row["confidence_upper"]) == hits.interval
    assert {row["arm"] for row in of_type(rows, "reference_eval")} == {"base", "control"}
    assert len(of_type(rows, "probe_summary")) == len(report.probes)


def test_attempts_are_the_examples() -> None:
    report = passing_report()
    attempts = of_type(rows_of(report), "attempt")
    assert len(attempts) == sum(len(probe.examples) for probe in report.probes) > 0
    assert len({row["uuid"] for row in attempts}) == len(attempts)
    assert attempts == of_type(rows_of(report), "attempt"), "the same examples have the same ids"
    first = attempts[0]
    assert first["prompt"]["turns"][0]["content"]["text"] == report.probes[0].examples[0].prompt
    assert first["outputs"][0]["text"] == report.probes[0].examples[0].completions["hardened"]
    assert first["detector_results"] == {}, "examples are not scored one by one"


def test_what_garak_has_no_word_for_is_there_too() -> None:
    report = failing_report()
    rows = rows_of(report)
    assert [row["row"] for row in of_type(rows, "dataset_row")] == [row.row for row in report.suspicious_rows]
    assert len(of_type(rows, "canary")) == 12
    assert len(of_type(rows, "quality")) == 3
    [verdict] = of_type(rows, "verdict")
    assert verdict["verdict"] == "fail"
    assert "not found by these probes" in verdict["limits"]


@pytest.mark.parametrize("text", HOSTILE)
def test_k4_a_text_is_one_line_whatever_it_holds(text: str) -> None:
    report = failing_report()
    hostile = report.model_copy(update={"training_file": text, "base_model": text})
    assert len(rows_of(hostile)) == len(rows_of(report))
