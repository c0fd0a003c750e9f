"""Whether a scan's result is what it says.

Covers: another scan's result, a spec that the service did not write, other bytes than were committed, objects
elsewhere, rows that the file does not have, rows listed twice or out of order, more than was to be listed, scores
that are no numbers, control characters, a table that is not the findings' own.
Does not cover: rows that were named or left out wrongly. Only a second scan can find that.
"""

from dataclasses import dataclass

from deploy.contract import layout
from deploy.contract.document import DocumentError
from deploy.contract.document import sha256_hex
from deploy.contract.scan import ScanFindings
from deploy.contract.scan import ScanResult
from deploy.contract.scan import ScanSpec
from deploy.contract.scan import findings_table
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from service.work.stored import BadResult
from service.work.stored import expect_key
from service.work.stored import read_document
from service.work.stored import refuse_large
from service.work.stored import verify_object


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedScan:
    """A result whose every byte was hashed."""

    result: ScanResult
    findings: ScanFindings


def verify_scan(store: ObjectStore, scan_id: str) -> VerifiedScan:
    """Load the result of a scan and check everything that it names.

    Raises:
        BadResult: it cannot be this scan's result.
        ObjectMissing: there is none.
        StoreError: the store failed; nothing is known.
    """
    result, spec = _load(store, scan_id)
    place = (scan_id, result.attempt, result.pod)
    expect_key(result.findings, layout.findings_key(*place))
    expect_key(result.table, layout.findings_table_key(*place))
    try:
        findings = ScanFindings.from_bytes(read_document(store, result.findings))
    except DocumentError as error:
        raise BadResult(str(error)) from error
    _check_findings(findings, spec)
    verify_object(store, result.table)
    if result.table.sha256 != sha256_hex(findings_table(findings)):
        raise BadResult("its table does not show its findings")
    return VerifiedScan(result=result, findings=findings)


def _load(store: ObjectStore, scan_id: str) -> tuple[ScanResult, ScanSpec]:
    key = layout.result_key(scan_id)
    refuse_large(store, key)
    try:
        result = ScanResult.from_bytes(store.get(key))
    except DocumentError as error:
        raise BadResult(str(error)) from error
    if result.scan_id != scan_id:
        raise BadResult(f"it is of {result.scan_id}")
    try:
        written = store.get(layout.spec_key(scan_id, result.attempt))
    except ObjectMissing as error:
        raise BadResult(f"there is no spec of attempt {result.attempt}") from error
    if sha256_hex(written) != result.spec_sha256:
        raise BadResult("it answers another spec")
    return result, ScanSpec.from_bytes(written)


def _check_findings(findings: ScanFindings, spec: ScanSpec) -> None:
    """What the findings alone cannot show: that they are of this file, and as many as were asked for."""
    if findings.scan_id != spec.scan_id:
        raise BadResult(f"its findings are of {findings.scan_id}")
    if (findings.sha256, findings.rows) != (spec.file.sha256, spec.file.rows):
        raise BadResult("its findings are of another file")
    expected = min(findings.suspicious, spec.limits.max_rows)
    if len(findings.listed) != expected:
        raise BadResult(f"its findings list {len(findings.listed)} rows, not {expected}")
    if any(each.score < spec.limits.min_score for each in findings.listed):
        raise BadResult("its findings list rows below the least score")
