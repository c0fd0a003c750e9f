"""Findings that cannot be true are no findings, and their table runs nothing."""

import csv
import io
import json
from typing import Any

import pytest

from deploy.contract.document import DocumentError
from deploy.contract.report import SuspiciousRow
from deploy.contract.scan import MAX_LISTED
from deploy.contract.scan import ScanFindings
from deploy.contract.scan import findings_table


def row(number: int, score: float = 1.0, reason: str = "why") -> dict[str, Any]:
    return {"row": number, "score": score, "reason": reason, "detectors": ["probe"]}


def document(**more: Any) -> dict[str, Any]:
    return {
        "scan_id": "scan-a",
        "filename": "train.csv",
        "sha256": "0" * 64,
        "rows": 9,
        "suspicious": 2,
        "detectors": {"probe": 2},
        "listed": [row(3), row(1, 0.5)],
        **more,
    }


def parse(**more: Any) -> ScanFindings:
    return ScanFindings.from_bytes(json.dumps(document(**more)).encode())


def test_findings_come_back_as_they_were_written() -> None:
    findings = parse()
    assert ScanFindings.from_bytes(findings.to_bytes()) == findings


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"listed": [row(10)]}, "row 10 is listed, the file has 9"),
        ({"listed": [row(0)]}, "listed.0.row"),
        ({"listed": [row(2), row(2)]}, "listed twice"),
        ({"listed": [row(1), row(2), row(3)]}, "3 rows listed, 2 suspicious"),
        ({"suspicious": 10}, "10 suspicious, 9 in all"),
        ({"listed": [row(1, 0.5), row(2, 0.6)]}, "most suspicious down"),
        ({"listed": [row(1, 1.5)]}, "score"),
        ({"listed": [row(1, float("nan"))]}, "ScanFindings"),
        ({"listed": [row(1, float("inf"))]}, "ScanFindings"),
        ({"listed": [row(1, reason="\x1b[2J")]}, "control characters"),
        ({"listed": [row(1, reason="a\u202eb")]}, "control characters"),
        ({"listed": [row(1, reason="x" * 501)]}, "reason"),
        ({"detectors": {"probe": 3}}, "more rows than there are"),
        ({"detectors": {}}, "probe found a row and is not counted"),
        ({"detectors": {"=cmd": 1, "probe": 2}}, "detectors"),
        ({"rows": 0}, "rows"),
        ({"verdict": "clean"}, "verdict"),
    ],
)
def test_what_cannot_be_true_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(DocumentError, match="ScanFindings") as refused:
        parse(**more)
    assert said in str(refused.value)


def test_the_largest_findings_stay_within_a_document() -> None:
    longest = "\N{GRINNING FACE}" * 500
    listed = tuple(
        SuspiciousRow(row=number + 1, reason=longest, detectors=("probe",)) for number in range(MAX_LISTED)
    )
    findings = ScanFindings(
        scan_id="scan-a",
        filename="x",
        sha256="0" * 64,
        rows=MAX_LISTED,
        suspicious=MAX_LISTED,
        detectors={"probe": MAX_LISTED},
        listed=listed,
    )
    assert ScanFindings.from_bytes(findings.to_bytes()) == findings


def test_k5_the_table_has_every_listed_row_and_no_formula() -> None:
    reason = '=cmd|"/c calc"!A1, "quoted", semi;colon'
    findings = parse(listed=[row(3, reason=reason), row(1, 0.5)])
    header, first, second = csv.reader(io.StringIO(findings_table(findings).decode()))
    assert header == ["row", "score", "detectors", "reason"]
    assert first == ["3", "1.0000", "probe", f"'{reason}"]
    assert second[:2] == ["1", "0.5000"]
