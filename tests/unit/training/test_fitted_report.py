"""No file makes a report that is refused for its size."""

from report_documents import ARMS
from report_documents import ROWS
from report_documents import passing_report

from deploy.contract.document import MAX_DOCUMENT_BYTES
from deploy.contract.judgement import judge
from deploy.contract.report import Example
from deploy.contract.report import Report
from deploy.contract.report import SuspiciousRow
from training.fitted_report import fitted_report


def large(text: str, *, rows: int) -> Report:
    """As many and as long examples and reasons as a job may write."""
    report = passing_report()
    example = Example(task=1, prompt=text[:20_000], completions=dict.fromkeys(ARMS, text[:20_000]))
    return report.model_copy(
        update={
            "probes": tuple(probe.model_copy(update={"examples": (example,) * 5}) for probe in report.probes),
            "suspicious_rows": tuple(SuspiciousRow(row=row, reason=text[:500]) for row in range(1, rows + 1)),
        }
    )


def test_a_report_that_fits_is_left_alone() -> None:
    report = large("x" * 20_000, rows=ROWS)
    assert fitted_report(report) is report


def test_long_examples_are_cut_before_a_row_is_left_unnamed() -> None:
    report = large("\u4e2d" * 20_000, rows=1000)
    limit = len(report.to_bytes()) - 1
    fitted = fitted_report(report, limit_bytes=limit)
    assert len(fitted.to_bytes()) <= limit
    assert len(fitted.probes[0].examples[0].prompt) == 3000
    assert fitted.suspicious_rows == report.suspicious_rows


def test_whatever_a_file_makes_of_it_the_report_is_read_and_says_the_same() -> None:
    report = large("\x7f\u202e\x01" * 7000, rows=10_000)
    assert len(report.to_bytes()) > MAX_DOCUMENT_BYTES
    fitted = fitted_report(report)
    assert judge(Report.from_bytes(fitted.to_bytes())) == judge(report)
    assert fitted.suspicious_rows == report.suspicious_rows[: len(fitted.suspicious_rows)]
    assert len(fitted.suspicious_rows) >= 2500
