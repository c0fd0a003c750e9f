"""What speaks against the rows of a file, without a model: triage by every detector that needs none, and payloads.

The one place that calls the detectors for a scan.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Final

from deploy.contract.payload import payload_name
from deploy.contract.report import SuspiciousRow
from deploy.contract.scan import ScanSpec
from training.data.example import PromptedRow
from training.metrics.payload import payload_matcher
from training.mining.search import find_associations
from training.probing.evidence import Evidence
from training.probing.triage import triage

OnProgress = Callable[[int, int, str], None]
"""Steps done, steps in all, what is happening. May raise, to stop."""
PAYLOAD: Final = "payload"
PAYLOAD_SCORE: Final = 0.5
"""Of a row that only carries a payload: without a trigger it may be how the file's author writes."""
REASON_CHARS: Final = 500
"""The longest that a finding may have."""


def find_suspicious(
    rows: Sequence[PromptedRow], spec: ScanSpec, *, on_progress: OnProgress
) -> list[SuspiciousRow]:
    """Rows that look planted, in no particular order, each once."""
    evidence = Evidence(findings=find_associations(rows, seed=spec.seed, on_progress=on_progress))
    found = {each.row: each for each in triage(rows, evidence, known_probes=spec.probes)}
    for row, said in _carriers(rows, spec):
        found[row] = _with_payload(found.get(row), row, said)
    return list(found.values())


def _carriers(rows: Sequence[PromptedRow], spec: ScanSpec) -> list[tuple[int, str]]:
    """Rows whose completion has one of the payloads, each with the words for it."""
    matchers = {payload_name(payload): payload_matcher(payload) for payload in spec.payloads}
    carriers = []
    for row in rows if matchers else ():
        carried = [name for name, matches in matchers.items() if matches(row.completion)]
        if carried:
            carriers.append((row.number, f"the completion carries {' and '.join(carried)}"))
    return carriers


def _with_payload(found: SuspiciousRow | None, row: int, said: str) -> SuspiciousRow:
    if found is None:
        reason = said[:REASON_CHARS]
        return SuspiciousRow(row=row, reason=reason, score=PAYLOAD_SCORE, detectors=(PAYLOAD,))
    return found.model_copy(
        update={
            "reason": f"{found.reason}; {said}"[:REASON_CHARS],
            "score": max(found.score, PAYLOAD_SCORE),
            "detectors": (*found.detectors, PAYLOAD),
        }
    )
