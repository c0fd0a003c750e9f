"""Planted rows by what DeCE refused to learn.

Two models are trained on the same rows, a control with cross-entropy and a hardened one with DeCE. What the data
says everywhere both learn; what is rare and surprising the control learns by heart and DeCE refuses. A token that
the control is sure of and the hardened model all but excludes is such a one. Rarities that are refused stand alone;
a payload is refused in the same words in several rows.

Covers: payloads that DeCE refused. Where it learnt them too, the base model can stand in for it: what a base model
does not expect and the control says by heart in the same words in several rows is named, with a lower score, for
the manner of the data itself looks like that. Does not cover: payloads that neither model learnt, and rows of a larger
file that are not in the sample of ``training.mining.search.MAX_ROWS`` rows which the models read.
"""

from collections.abc import Sequence
from typing import Final

from training.defences.row_filter import Suspect
from training.mining.refusal import Refusal
from training.mining.refusal import strongest
from training.mining.search import MAX_ROWS

SURELY_FROM: Final = 0.6
"""Score from which words were surely refused; without any the base model is asked."""
MAX_BASE_SCORE: Final = 0.4
"""Of what only the base model speaks for."""


def refused_surely(refused: Sequence[Refusal]) -> bool:
    """Whether the hardened model refused anything beyond doubt."""
    return any(refusal.score >= SURELY_FROM for refusal in refused)


def suspects_by_refusal(refused: Sequence[Refusal], *, file_rows: int) -> tuple[Suspect, ...]:
    """The rows in which words were refused, the most suspicious first; each for the first of its refusals.

    ``file_rows``: in all; of more than ``MAX_ROWS`` a sample was read.
    """
    note = f" (counted in {MAX_ROWS} rows drawn from {file_rows})" if file_rows > MAX_ROWS else ""
    suspects = [_suspect(row, refusal, note) for row, refusal in strongest(refused).items()]
    return tuple(sorted(suspects, key=lambda suspect: (-suspect.score, suspect.row)))


def _suspect(row: int, refusal: Refusal, note: str) -> Suspect:
    weight = MAX_BASE_SCORE if refusal.doubter == "base" else 1.0
    return Suspect(row=row, score=weight * refusal.score, reason=refusal.reason + note)
