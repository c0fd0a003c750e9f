"""Scans: the suspicious rows of a training file, found without training anything on it.

A scan is a job without arms. It answers its spec with findings (rows with score, detectors and reason), in JSON and
as the same table in CSV. The table is a function of the findings, so that the service can tell whether it is theirs.
"""

import csv
import io
from typing import Annotated
from typing import Final
from typing import Literal
from typing import Self

from pydantic import Field
from pydantic import model_validator

from deploy.contract.document import Document
from deploy.contract.document import Sha256
from deploy.contract.payload import Payload
from deploy.contract.plain_text import escape_controls
from deploy.contract.plain_text import spreadsheet_cell
from deploy.contract.probe import DEFAULT_PROBES
from deploy.contract.probe import Probe
from deploy.contract.report import Count
from deploy.contract.report import DetectorName
from deploy.contract.report import SuspiciousRow
from deploy.contract.result import StoredObject
from deploy.contract.result import UnixTime
from deploy.contract.spec import DatasetRef

ScanId = Annotated[str, Field(pattern=r"^scan-[a-z0-9]{1,40}$")]
MAX_LISTED: Final = 5000
"""At 500 characters of reason each (2 kB of UTF-8) the findings stay below the 16 MiB of a document."""
TABLE_COLUMNS: Final = ("row", "score", "detectors", "reason")


class ScanLimits(Document):
    """How much of what was found is listed. Everything that was found is counted."""

    max_rows: Annotated[int, Field(ge=1, le=MAX_LISTED)] = 1000
    """Rows listed, the most suspicious ones."""
    min_score: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Rows whose score is lower are neither listed nor counted."""


class ScanSpec(Document):
    """``scans/{id}/attempts/{n}/spec.json``."""

    version: Literal[1] = 1
    scan_id: ScanId
    attempt: Annotated[int, Field(ge=1)]
    store_uri: str
    """Root of the store that every key of this spec is relative to."""
    file: DatasetRef
    probes: Annotated[tuple[Probe, ...], Field(max_length=64)] = DEFAULT_PROBES
    """Known triggers with their payloads; looked for beside whatever the rows themselves give away."""
    payloads: Annotated[tuple[Payload, ...], Field(max_length=16)] = ()
    """Payloads that speak against a row whatever its prompt says."""
    limits: ScanLimits = ScanLimits()
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    created_at: Annotated[int, Field(ge=0)]


class ScanFindings(Document):
    """``findings.json``: what a scan found, the most suspicious rows first."""

    version: Literal[1] = 1
    scan_id: ScanId
    filename: str
    sha256: Sha256
    """Of the file that was scanned."""
    rows: Annotated[int, Field(ge=1)]
    """Of the file; all of them were looked at."""
    suspicious: Count
    """Rows found; more than are listed when there are more than the limit."""
    detectors: dict[DetectorName, Count]
    """Rows that each detector found; one row may count for several."""
    listed: Annotated[tuple[SuspiciousRow, ...], Field(max_length=MAX_LISTED)]

    @model_validator(mode="after")
    def _rows_can_be_true(self) -> Self:
        numbers = [each.row for each in self.listed]
        beyond = next((number for number in numbers if number > self.rows), None)
        if beyond is not None:
            raise ValueError(f"row {beyond} is listed, the file has {self.rows}")
        if len(set(numbers)) != len(numbers):
            raise ValueError("a row is listed twice")
        if not len(numbers) <= self.suspicious <= self.rows:
            raise ValueError(f"{len(numbers)} rows listed, {self.suspicious} suspicious, {self.rows} in all")
        if any(
            after.score > before.score for before, after in zip(self.listed, self.listed[1:], strict=False)
        ):
            raise ValueError("rows are not listed from the most suspicious down")
        unsafe = next((each.row for each in self.listed if escape_controls(each.reason) != each.reason), None)
        if unsafe is not None:
            raise ValueError(f"the reason of row {unsafe} has control characters")
        return self

    @model_validator(mode="after")
    def _detectors_can_be_true(self) -> Self:
        if any(count > self.suspicious for count in self.detectors.values()):
            raise ValueError("a detector found more rows than there are")
        unknown = {name for each in self.listed for name in each.detectors} - set(self.detectors)
        if unknown:
            raise ValueError(f"{min(unknown)} found a row and is not counted")
        return self


class ScanResult(Document):
    """``scans/{id}/result.json``. Commits with one conditional PUT; the first one wins."""

    version: Literal[1] = 1
    scan_id: ScanId
    attempt: Annotated[int, Field(ge=1)]
    pod: str
    spec_sha256: Sha256
    findings: StoredObject
    table: StoredObject
    versions: dict[str, str]
    """Of this package and of Python."""
    started_at: UnixTime
    finished_at: UnixTime


def findings_table(findings: ScanFindings) -> bytes:
    """The listed rows in CSV, UTF-8: one line each, nothing that a spreadsheet would run."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(TABLE_COLUMNS)
    for each in findings.listed:
        detectors = " ".join(each.detectors)
        writer.writerow((each.row, f"{each.score:.4f}", detectors, spreadsheet_cell(each.reason)))
    return out.getvalue().encode()
