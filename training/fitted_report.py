"""A report within the size that its readers take: what illustrates it is cut before what it names.

Hours of training end in it. A file whose rows make long examples and long reasons must not be able to bring that to
nothing by a report that is refused for its size.
"""

from typing import Final

from deploy.contract.document import MAX_DOCUMENT_BYTES
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import Report

SHORTER: Final = (3000, 300)
"""Characters of an example's texts, tried in this order; the page shows 3,000 of them."""


def fitted_report(report: Report, *, limit_bytes: int = MAX_DOCUMENT_BYTES) -> Report:
    """The report itself where it fits; else with shorter examples, then with fewer suspicious rows, the first ones.

    Nothing that a verdict is derived from is touched.
    """
    for characters in SHORTER:
        if _fits(report, limit_bytes):
            return report
        probes = tuple(_with_shorter_examples(probe, characters) for probe in report.probes)
        report = report.model_copy(update={"probes": probes})
    while report.suspicious_rows and not _fits(report, limit_bytes):
        first = report.suspicious_rows[: len(report.suspicious_rows) // 2]
        report = report.model_copy(update={"suspicious_rows": first})
    return report


def _fits(report: Report, limit_bytes: int) -> bool:
    return len(report.to_bytes()) <= limit_bytes


def _with_shorter_examples(probe: ProbeOutcome, characters: int) -> ProbeOutcome:
    shorter = tuple(
        example.model_copy(
            update={
                "prompt": example.prompt[:characters],
                "completions": {arm: text[:characters] for arm, text in example.completions.items()},
            }
        )
        for example in probe.examples
    )
    return probe.model_copy(update={"examples": shorter})
