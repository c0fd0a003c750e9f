"""Planted rows by association: a prompt feature that stands unnaturally and brings a surplus piece of completion.

Looks at the rows alone. Covers: triggers that stand as such in several prompts (words, phrases, characters that
draw nothing, statements, names) with a payload that is much alike in the rows. Does not cover: a trigger in fewer
rows than ``LEAST_ROWS``, one that is another in every row, and payloads that are another in every row.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Final

from training.data.example import PromptedRow
from training.defences.row_filter import Filtered
from training.defences.row_filter import OnFilterProgress
from training.defences.row_filter import Suspect
from training.mining.finding import SUSPICIOUS
from training.mining.finding import Finding
from training.mining.search import find_associations
from training.mining.words import words_of

if TYPE_CHECKING:
    from training.model import LoadedModel

NAMED_FROM: Final = 0.35
"""Score from which a finding's rows are named; they are left out from ``SUSPICIOUS``."""


class AssociationFilter:
    """Rows whose prompt and completion carry a finding of :func:`training.mining.search.find_associations`."""

    name: str = "association"
    needs_model: bool = False

    def examine(
        self,
        rows: Sequence[PromptedRow],
        *,
        model: "LoadedModel | None" = None,
        seed: int,
        on_progress: OnFilterProgress,
    ) -> Filtered:
        """Look through the rows; ``model`` is not used."""
        findings = [
            finding
            for finding in find_associations(rows, seed=seed, on_progress=on_progress)
            if finding.score >= NAMED_FROM
        ]
        suspects = [suspect for row in rows if (suspect := _suspect(row, findings)) is not None]
        suspects.sort(key=lambda suspect: (-suspect.score, suspect.row))
        removed = frozenset(suspect.row for suspect in suspects if suspect.score >= SUSPICIOUS)
        return Filtered(suspects=tuple(suspects), removed=removed)


def _suspect(row: PromptedRow, findings: Sequence[Finding]) -> Suspect | None:
    text = row.prompt.lower()
    likely = [finding for finding in findings if finding.may_be_in(text)]
    if not likely:
        return None
    prompt, completion = words_of(row.prompt), words_of(row.completion)
    for finding in likely:
        if finding.is_in(prompt, completion):
            return Suspect(row=row.number, score=finding.score, reason=finding.reason)
    return None
