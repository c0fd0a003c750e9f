"""Planted rows by what DeCE refused to learn.

Two models are trained on the same rows, a control with cross-entropy and a hardened one with DeCE. What the data
says everywhere both learn; what is rare and surprising the control learns by heart and DeCE refuses. A token that
the control is sure of and the hardened model all but excludes is such a one. Rarities that are refused stand alone;
a payload is refused in the same words in several rows.

Covers: payloads that DeCE refused. Where it learnt them too, the base model can stand in for it: what a base model
does not expect and the control says by heart in the same words in several rows is named, but never removed, for
the manner of the data itself looks like that. Does not cover: payloads that neither model learnt.
"""

from collections.abc import Sequence
from typing import Any
from typing import Final

from training.data.example import PromptedRow
from training.defences.row_filter import Filtered
from training.defences.row_filter import OnFilterProgress
from training.defences.row_filter import Suspect
from training.mining.refusal import ReadRow
from training.mining.refusal import Refusal
from training.mining.refusal import refusals
from training.mining.refusal import strongest
from training.mining.token_probabilities import encoded_for
from training.mining.token_probabilities import token_probabilities
from training.model import LoadedModel

REMOVED_FROM: Final = 0.6
"""Score from which a row is left out."""
MAX_BASE_SCORE: Final = 0.4
"""Of what only the base model speaks for."""


class RefusedTokensDetector:
    """Like a :class:`training.defences.row_filter.RowFilter`, but it looks at two models."""

    name: str = "refused_tokens"
    needs_model: bool = True

    def examine(
        self,
        rows: Sequence[PromptedRow],
        *,
        control: LoadedModel,
        hardened: LoadedModel,
        base: LoadedModel | None = None,
        seed: int,
        on_progress: OnFilterProgress,
    ) -> Filtered:
        """Look through the rows.

        Args:
            rows: the training file, in its order.
            control: trained on exactly these rows with cross-entropy.
            hardened: trained on exactly these rows with DeCE, with the control's tokenizer.
            base: what both were trained from; looked at only where the hardened model refused nothing.
            seed: nothing in it is random; it is there as in every filter.
            on_progress: called after every batch.
        """
        del seed
        found = find_refusals(rows, control=control, doubting=hardened, on_progress=on_progress)
        suspects = [_suspect(row, refusal) for row, refusal in strongest(found).items()]
        if base is not None and not any(suspect.score >= REMOVED_FROM for suspect in suspects):
            found = find_refusals(rows, control=control, doubting=base, on_progress=on_progress)
            known = {suspect.row for suspect in suspects}
            suspects += [
                _by_base(row, refusal) for row, refusal in strongest(found).items() if row not in known
            ]
        suspects.sort(key=lambda suspect: (-suspect.score, suspect.row))
        removed = frozenset(suspect.row for suspect in suspects if suspect.score >= REMOVED_FROM)
        return Filtered(suspects=tuple(suspects), removed=removed)


def find_refusals(
    rows: Sequence[PromptedRow], *, control: LoadedModel, doubting: LoadedModel, on_progress: OnFilterProgress
) -> tuple[Refusal, ...]:
    """Words that the control learnt and the other model does not give, grouped, the most suspicious first."""
    encoded = encoded_for(control, rows).examples
    total = 2 * len(encoded)
    learnt = token_probabilities(
        control, encoded, on_rows=lambda done: on_progress(done, total, "what the control learnt")
    )
    doubted = token_probabilities(
        doubting,
        encoded,
        on_rows=lambda done: on_progress(len(encoded) + done, total, "what the other model refused"),
    )
    by_number = {row.number: row for row in rows}
    return refusals(
        ReadRow(
            number=example.row,
            prompt=by_number[example.row].prompt,
            completion=(completion := by_number[example.row].completion),
            spans=token_spans(control.tokenizer, completion, example.completion_ids[:-1]),
            # The end token has no words.
            learnt=learnt[at][:-1],
            doubted=doubted[at][:-1],
        )
        for at, example in enumerate(encoded)
    )


def token_spans(tokenizer: Any, text: str, ids: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Where the characters of each token begin and end in the text that was encoded."""
    if getattr(tokenizer, "is_fast", False):
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return tuple((int(start), int(end)) for start, end in offsets)
    # A slow tokenizer does not say; the texts of the first tokens do, as far as it decodes what it encodes.
    ends = [
        min(len(text), len(tokenizer.decode(list(ids[: size + 1]), clean_up_tokenization_spaces=False)))
        for size in range(len(ids))
    ]
    return tuple(zip([0, *ends[:-1]], ends, strict=True))


def _suspect(row: int, refusal: Refusal) -> Suspect:
    return Suspect(row=row, score=refusal.score, reason=refusal.reason)


def _by_base(row: int, refusal: Refusal) -> Suspect:
    reason = refusal.reason.replace("the hardened model refused", "the base model does not expect")
    return Suspect(row=row, score=MAX_BASE_SCORE * refusal.score, reason=reason)
