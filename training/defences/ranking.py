"""From what a filter measured on the rows to its ranked suspects."""

import math
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from training.defences.row_filter import Filtered
from training.defences.row_filter import Suspect

MAX_SUSPECTS: Final = 10_000
"""As many as a report names rows; the most suspicious ones are kept."""
SHOWN_LETTERS: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks against a row."""

    row: int
    weight: float
    """Comparable among the rows of a file; evidence of 0 or less is none."""
    tie_break: float = 0.0
    """Orders rows of equal weight."""
    reason: str


def ranked(evidence: Iterable[Evidence], *, removed: AbstractSet[int]) -> Filtered:
    """Suspects by falling weight, scored relative to the heaviest; equal ones in the order of the file."""
    found = [each for each in evidence if math.isfinite(each.weight) and each.weight > 0]
    found.sort(key=lambda each: (-each.weight, -each.tie_break, each.row))
    heaviest = found[0].weight if found else 1.0
    suspects = (
        Suspect(row=each.row, score=each.weight / heaviest, reason=each.reason)
        for each in found[:MAX_SUSPECTS]
    )
    return Filtered(suspects=tuple(suspects), removed=frozenset(removed))


def shown(word: str) -> str:
    """A word as a reason quotes it: escaped where it is not printable, and short."""
    cut = word if len(word) <= SHOWN_LETTERS else word[:SHOWN_LETTERS] + "..."
    return f'"{cut}"' if cut.isprintable() and '"' not in cut else ascii(cut)
