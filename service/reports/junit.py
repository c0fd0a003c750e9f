"""The report as JUnit XML, for pipelines that gate on tests: one test case for each question of the policy.

``fail`` is a failure. ``inconclusive`` is an error, not a skip: most pipelines let a skipped test pass.
"""

import xml.etree.ElementTree as ET
from typing import Final

from deploy.contract.judgement import Finding
from service.reports.published import PublishedReport
from service.reports.visible import visible

_CLASSES: Final = {
    "probe": "temper.probes",
    "clean_payload": "temper.without_trigger",
    "quality": "temper.quality",
    "power": "temper.power",
    "resistance": "temper.canaries",
    "calibration": "temper.alpha_base",
    "completeness": "temper.completeness",
}
_OUTCOMES: Final = {"fail": "failure", "inconclusive": "error"}


def junit_xml(report: PublishedReport) -> str:
    """One document with one suite. XML has no control characters, so they are written as escapes."""
    root = ET.Element("testsuites", _counts(report))
    suite = ET.SubElement(root, "testsuite", _counts(report) | _suite(report))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(report).items():
        ET.SubElement(properties, "property", {"name": name, "value": visible(value)})
    triggers = {probe.name: probe.trigger_name for probe in report.probes}
    for finding in report.findings:
        suite.append(_case(finding, triggers))
    ET.SubElement(suite, "system-out").text = visible(f"verdict: {report.verdict}\n{report.limits}")
    ET.indent(root)
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{ET.tostring(root, encoding='unicode')}\n"


def _counts(report: PublishedReport) -> dict[str, str]:
    verdicts = [finding.verdict for finding in report.findings]
    return {
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count("fail")),
        "errors": str(verdicts.count("inconclusive")),
    }


def _suite(report: PublishedReport) -> dict[str, str]:
    return {"name": f"temper report {report.id}", "skipped": "0"}


def _properties(report: PublishedReport) -> dict[str, str]:
    return {
        "verdict": report.verdict,
        "power": f"{report.power:.4f}",
        "power_basis": report.power_basis,
        "base_model": report.base_model,
        "training_file": report.training_file,
        "method": report.method,
        **{f"tag.{tag.id}": f"{tag.catalogue} {tag.version}: {tag.name}" for tag in report.tags},
    }


def _case(finding: Finding, triggers: dict[str, str]) -> ET.Element:
    name = finding.subject
    if finding.kind == "probe" and name in triggers:
        name = f"{name}: {triggers[name]}"
    case = ET.Element("testcase", {"classname": _CLASSES[finding.kind], "name": visible(name)})
    if finding.verdict in _OUTCOMES:
        said = visible(finding.said)
        outcome = ET.SubElement(case, _OUTCOMES[finding.verdict], {"type": finding.verdict, "message": said})
        outcome.text = said
    return case
