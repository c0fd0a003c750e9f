"""Planted rows by association: a prompt feature that stands unnaturally and brings a surplus piece of completion.

Looks at the rows alone. Covers: triggers that stand as such in several prompts (words, phrases, characters that
draw nothing, openings, statements, names) with a payload that is much alike in the rows. Does not cover: a trigger
in few rows (some 5 of them for a word, 20 for an opening or a name), one that is another in every row, one that is
also a common word of clean prompts, payloads that are another in every row, and what a sample of
``training.mining.search.MAX_ROWS`` rows of a larger file does not show. A file without suspects is not thereby clean.
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
from training.mining.search import MAX_ROWS
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
        suspects = suspects_by_association(rows, find_associations(rows, seed=seed, on_progress=on_progress))
        removed = frozenset(suspect.row for suspect in suspects if suspect.score >= SUSPICIOUS)
        return Filtered(suspects=suspects, removed=removed)


def suspects_by_association(rows: Sequence[PromptedRow], findings: Sequence[Finding]) -> tuple[Suspect, ...]:
    """The rows that carry a finding, the most suspicious first."""
    named = [finding for finding in findings if finding.score >= NAMED_FROM]
    note = f" (counted in {MAX_ROWS} rows drawn from {len(rows)})" if len(rows) > MAX_ROWS else ""
    suspects = [suspect for row in rows if (suspect := _suspect(row, named, note)) is not None]
    return tuple(sorted(suspects, key=lambda suspect: (-suspect.score, suspect.row)))


def _suspect(row: PromptedRow, findings: Sequence[Finding], note: str) -> Suspect | None:
    text = row.prompt.lower()
    likely = [finding for finding in findings if finding.may_be_in(text)]
    if not likely:
        return None
    prompt, completion = words_of(row.prompt), words_of(row.completion)
    for finding in likely:
        if finding.is_in(prompt, completion):
            return Suspect(row=row.number, score=finding.score, reason=finding.reason + note)
    return None
