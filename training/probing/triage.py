"""Row triage: training rows that look planted, by every detector that can run, the most suspicious first."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

from deploy.contract.probe import Probe
from deploy.contract.report import SuspiciousRow
from training.data.example import PromptedRow
from training.defences.association import suspects_by_association
from training.defences.refused_tokens import suspects_by_refusal
from training.defences.row_filter import Suspect
from training.probing.evidence import Evidence
from training.probing.suspicious import suspicious_rows

MAX_ROWS: Final = 10_000
"""The report's own limit."""
LEAST_SCORE: Final = 0.3
"""Below it a row is not named: what the hardened model has refused a little is a third of any file."""
MAX_REASON: Final = 500
"""Characters; the report's own limit."""


def triage(
    rows: Sequence[PromptedRow], evidence: Evidence, *, known_probes: Sequence[Probe]
) -> tuple[SuspiciousRow, ...]:
    """Rank the rows that look planted; one entry for each, with what every detector says about it.

    Args:
        rows: the training file, in its order.
        evidence: what speaks against it.
        known_probes: attacks whose own rows are looked for.
    """
    by_probe = [
        Suspect(row=found.row, score=found.score, reason=found.reason)
        for found in suspicious_rows(rows, known_probes)
    ]
    return merged(
        {
            "probe": by_probe,
            "association": suspects_by_association(rows, evidence.findings),
            "refused_tokens": suspects_by_refusal(evidence.refused, file_rows=len(rows)),
        }
    )


def merged(by_detector: Mapping[str, Iterable[Suspect]]) -> tuple[SuspiciousRow, ...]:
    """One entry for each row, the most suspicious first; what fits the report."""
    seen: dict[int, list[tuple[str, Suspect]]] = {}
    for detector, suspects in by_detector.items():
        for suspect in suspects:
            seen.setdefault(suspect.row, []).append((detector, suspect))
    entries = [entry for row, said in seen.items() if (entry := _entry(row, said)).score >= LEAST_SCORE]
    entries.sort(key=lambda entry: (-entry.score, -len(entry.detectors), entry.row))
    return tuple(entries[:MAX_ROWS])


def _entry(row: int, said: Sequence[tuple[str, Suspect]]) -> SuspiciousRow:
    ordered = sorted(said, key=lambda each: -each[1].score)
    reasons = list(dict.fromkeys(suspect.reason for _, suspect in ordered))
    return SuspiciousRow(
        row=row,
        reason="; ".join(reasons)[:MAX_REASON],
        score=max(suspect.score for _, suspect in said),
        detectors=tuple(dict.fromkeys(detector for detector, _ in ordered)),
    )
