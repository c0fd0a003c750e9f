"""The findings of a scan as SARIF 2.1.0, in the form in which a report names its suspicious rows."""

from typing import Any
from typing import Final

from deploy.contract.scan import ScanFindings
from service.reports.sarif import artifact_of
from service.reports.sarif import one_run_log
from service.reports.sarif import row_result

LIMITS: Final = "A scan looks at the rows alone and names what these detectors find. Rows that are not named are not thereby clean."


def findings_log(findings: ScanFindings) -> dict[str, Any]:
    """The whole log, with one run; a row keeps its fingerprint from scan to scan and in a job's report."""
    return one_run_log(
        findings.scan_id,
        artifact=artifact_of(findings.filename, sha256=findings.sha256),
        results=[row_result(each, findings.filename) for each in findings.listed],
        complete=True,
        properties={
            "rows": findings.rows,
            "suspicious": findings.suspicious,
            "detectors": findings.detectors,
            "limits": LIMITS,
        },
    )
