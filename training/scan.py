"""A scan from its spec to its committed result: ``python -m training.scan --spec URI --sha256 HEX``.

Looks at the rows alone: no model is loaded, and torch is not imported.
"""

import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from deploy.contract import layout
from deploy.contract.exit_codes import ExitCode
from deploy.contract.plain_text import escape_controls
from deploy.contract.report import SuspiciousRow
from deploy.contract.scan import ScanFindings
from deploy.contract.scan import ScanResult
from deploy.contract.scan import ScanSpec
from deploy.contract.scan import findings_table
from deploy.store.opening import open_store
from deploy.store.protocol import ObjectStore
from training.data.rows import load_rows
from training.errors import Interrupted
from training.errors import PlatformFault
from training.errors import Superseded
from training.events import EventWriter
from training.events import open_events
from training.inputs import fetch_dataset
from training.process import Start
from training.process import run_process
from training.publish import upload_bytes
from training.scanning import REASON_CHARS
from training.scanning import find_suspicious
from training.spec import read_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One start of one attempt."""

    spec: ScanSpec
    spec_sha256: str
    store: ObjectStore
    pod: str
    scratch: Path
    events: EventWriter
    stop_asked: Callable[[], bool]
    started_at: float

    @property
    def failure_key(self) -> str:
        """Where it says why it failed."""
        return layout.failure_key(self.spec.scan_id, self.spec.attempt, self.pod)

    def run(self) -> None:
        """As :func:`run_scan`."""
        run_scan(self)


def open_scan(start: Start) -> Scan:
    """Read the spec and open the store and the event stream."""
    started_at = time.time()
    spec = read_spec(start.spec_uri, start.spec_sha256, ScanSpec)
    store = open_store(spec.store_uri)
    return Scan(
        spec=spec,
        spec_sha256=start.spec_sha256,
        store=store,
        pod=start.pod,
        scratch=start.scratch,
        events=open_events(store, job_id=spec.scan_id, attempt=spec.attempt, pod=start.pod),
        stop_asked=start.stop_asked,
        started_at=started_at,
    )


def run_scan(scan: Scan) -> None:
    """Fetch, look through the rows, publish.

    Raises:
        Superseded: the scan has a result already, or another start commits first.
        JobError, StoreError, OSError: see :mod:`training.failure`.
    """
    spec = scan.spec
    if scan.store.info(layout.result_key(spec.scan_id)) is not None:
        raise Superseded(spec.scan_id)
    scan.events.enter("preparing", "fetching and checking the file")
    path = fetch_dataset(scan.store, spec.file, scan.scratch / "dataset")
    try:
        rows = load_rows(path, spec.file)
        scan.events.enter("scanning", f"looking through {len(rows)} rows")
        suspicious = find_suspicious(rows, spec, on_progress=_relay(scan))
    except MemoryError as error:
        said = f"out of memory: {spec.file.rows} rows ({spec.file.size_bytes >> 20} MiB) were too many for one scan"
        raise PlatformFault(ExitCode.OUT_OF_MEMORY, "out_of_memory", said) from error
    _publish(scan, list_findings(spec, suspicious))


def _relay(scan: Scan) -> Callable[[int, int, str], None]:
    def relay(done: int, total: int, message: str) -> None:
        scan.events.say(message, data={"done": done, "total": total}, kind="metrics")
        if scan.stop_asked():
            raise Interrupted

    return relay


def list_findings(spec: ScanSpec, suspicious: Sequence[SuspiciousRow]) -> ScanFindings:
    """What was found, cut to what the spec wants listed. Reasons quote the file: their controls are escaped."""
    kept = [each for each in suspicious if each.score >= spec.limits.min_score]
    kept.sort(key=lambda each: (-each.score, each.row))
    return ScanFindings(
        scan_id=spec.scan_id,
        filename=spec.file.filename,
        sha256=spec.file.sha256,
        rows=spec.file.rows,
        suspicious=len(kept),
        detectors=dict(sorted(Counter(name for each in kept for name in set(each.detectors)).items())),
        listed=tuple(
            each.model_copy(update={"reason": escape_controls(each.reason)[:REASON_CHARS]})
            for each in kept[: spec.limits.max_rows]
        ),
    )


def _publish(scan: Scan, findings: ScanFindings) -> None:
    place = (scan.spec.scan_id, scan.spec.attempt, scan.pod)
    scan.events.enter("uploading", f"storing the findings: {findings.suspicious} suspicious rows")
    result = ScanResult(
        scan_id=scan.spec.scan_id,
        attempt=scan.spec.attempt,
        pod=scan.pod,
        spec_sha256=scan.spec_sha256,
        findings=upload_bytes(scan.store, layout.findings_key(*place), findings.to_bytes()),
        table=upload_bytes(scan.store, layout.findings_table_key(*place), findings_table(findings)),
        versions={"python": platform.python_version(), "temper-hardening": version("temper-hardening")},
        started_at=scan.started_at,
        finished_at=time.time(),
    )
    scan.events.enter("committing", "committing the result")
    if scan.stop_asked():
        raise Interrupted
    if not scan.store.put_once(layout.result_key(scan.spec.scan_id), result.to_bytes()):
        raise Superseded(scan.spec.scan_id)


def main() -> int:
    """Run one start of one attempt of a scan. Returns the exit code."""
    return run_process("training.scan", "Look through a training file for suspicious rows.", open_scan)


if __name__ == "__main__":
    sys.exit(main())
