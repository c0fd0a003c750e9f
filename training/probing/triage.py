"""Row triage: training rows that look planted, by every detector that can run, the most suspicious first."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Final

from deploy.contract.probe import Probe
from deploy.contract.report import SuspiciousRow
from training.data.example import PromptedRow
from training.defences.association import AssociationFilter
from training.defences.row_filter import OnFilterProgress
from training.defences.row_filter import Suspect
from training.probing.suspicious import suspicious_rows

if TYPE_CHECKING:
    # A scan has no model, and starts without torch.
    from training.model import LoadedModel

MAX_ROWS: Final = 10_000
"""The report's own limit."""
LEAST_SCORE: Final = 0.3
"""Below it a row is not named: what the hardened model has refused a little is a third of any file."""
MAX_REASON: Final = 500
"""Characters; the report's own limit."""


def triage(
    rows: Sequence[PromptedRow],
    *,
    known_probes: Sequence[Probe],
    control: "LoadedModel | None" = None,
    hardened: "LoadedModel | None" = None,
    base: "LoadedModel | None" = None,
    seed: int,
    on_progress: OnFilterProgress,
) -> tuple[SuspiciousRow, ...]:
    """Rank the rows that look planted; one entry for each, with what every detector says about it.

    Args:
        rows: the training file, in its order.
        known_probes: attacks whose own rows are looked for.
        control: trained on exactly these rows with plain cross-entropy, where there is one.
        hardened: trained on exactly these rows with DeCE, where there is one.
        base: what both were trained from, where there is one.
        seed: of whatever is random in it.
        on_progress: steps done, steps in all, what is happening; may raise, to stop.
    """
    by_detector: dict[str, Iterable[Suspect]] = {
        "probe": [
            Suspect(row=found.row, score=found.score, reason=found.reason)
            for found in suspicious_rows(rows, known_probes)
        ],
        "association": AssociationFilter().examine(rows, seed=seed, on_progress=on_progress).suspects,
    }
    if control is not None and hardened is not None:
        # A scan has no models and its image may have no torch.
        from training.defences.refused_tokens import RefusedTokensDetector

        by_detector["refused_tokens"] = (
            RefusedTokensDetector()
            .examine(rows, control=control, hardened=hardened, base=base, seed=seed, on_progress=on_progress)
            .suspects
        )
    return merged(by_detector)


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
