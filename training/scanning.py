"""What speaks against the rows of a file, without a model: known triggers and payloads now, other signs as they come.

The one place that calls the detectors for a scan.
"""

from collections.abc import Callable
from collections.abc import Sequence

from deploy.contract.payload import payload_name
from deploy.contract.report import SuspiciousRow
from deploy.contract.scan import ScanSpec
from training.data.example import PromptedRow
from training.metrics.payload import payload_matcher
from training.probing.suspicious import suspicious_rows

OnProgress = Callable[[int, int, str], None]
"""Steps done, steps in all, what is happening. May raise, to stop."""
PAYLOAD_SCORE = 0.5
"""Of a row that only carries a payload: without a trigger it may be how the file's author writes."""


def find_suspicious(
    rows: Sequence[PromptedRow], spec: ScanSpec, *, on_progress: OnProgress
) -> list[SuspiciousRow]:
    """Rows that look planted, in no particular order, each once."""
    on_progress(0, 2, "looking for known triggers with their payloads")
    found = {
        each.row: each if each.detectors else each.model_copy(update={"detectors": ("probe",)})
        for each in suspicious_rows(rows, spec.probes)
    }
    on_progress(1, 2, "looking for payloads")
    for each in _carriers(rows, spec):
        found.setdefault(each.row, each)
    on_progress(2, 2, f"{len(found)} suspicious rows")
    return list(found.values())


def _carriers(rows: Sequence[PromptedRow], spec: ScanSpec) -> list[SuspiciousRow]:
    matchers = {payload_name(payload): payload_matcher(payload) for payload in spec.payloads}
    carriers = []
    for row in rows:
        carried = [name for name, matches in matchers.items() if matches(row.completion)]
        if carried:
            said = f"the completion carries {' and '.join(carried)}"[:500]
            carriers.append(
                SuspiciousRow(row=row.number, reason=said, score=PAYLOAD_SCORE, detectors=("payload",))
            )
    return carriers
