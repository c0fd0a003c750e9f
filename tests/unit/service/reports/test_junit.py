"""JUnit XML: a pipeline that knows nothing but tests sees the verdict."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hostile_texts import HOSTILE
from report_documents import failing_report
from report_documents import inconclusive_report
from report_documents import passing_report

from deploy.contract.report import Report
from deploy.contract.trigger import WordTrigger
from service.reports.junit import junit_xml
from service.reports.published import publish


def suite_of(report: Report) -> ET.Element:
    root = ET.fromstring(junit_xml(publish(report)))  # noqa: S314 - written a line ago
    suite = root.find("testsuite")
    assert suite is not None
    assert {name: root.get(name) for name in ("tests", "failures", "errors")} == {
        name: suite.get(name) for name in ("tests", "failures", "errors")
    }
    return suite


@pytest.mark.parametrize(
    ("make", "element"),
    [(passing_report, None), (failing_report, "failure"), (inconclusive_report, "error")],
)
def test_every_question_is_a_test_case(make: Any, element: str | None) -> None:
    published = publish(make())
    suite = suite_of(make())
    cases = suite.findall("testcase")
    assert len(cases) == len(published.findings) == int(suite.get("tests", ""))
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    if element is None:
        assert not suite.findall("testcase/*")
    else:
        told = suite.findall(f"testcase/{element}")
        assert [each.get("message") for each in told] == list(published.reasons)
    for each, verdict in (("failure", "fail"), ("error", "inconclusive")):
        said_so = [finding.said for finding in published.findings if finding.verdict == verdict]
        assert [case.get("message") for case in suite.findall(f"testcase/{each}")] == said_so
    assert not suite.findall("testcase/skipped"), "most pipelines let a skipped test pass"


@pytest.mark.parametrize("text", HOSTILE)
def test_k7_any_text_makes_a_well_formed_document(text: str) -> None:
    report = failing_report()
    probe = report.probes[0].model_copy(update={"trigger": WordTrigger(word=text)})
    changed = report.model_copy(
        update={"probes": (probe, *report.probes[1:]), "training_file": text, "base_model": text}
    )
    suite = suite_of(changed)
    assert len(suite.findall("testcase")) == len(publish(report).findings)
    assert not set(junit_xml(publish(changed))) & set("\x00\x07\x1b\x9b\u202e\u200b\u2028\r")
