"""What a model gives for the completions of a file, and what of it another model, trained on the same file, refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.example import Example
from training.data.example import PromptedRow
from training.mining.refusal import Doubter
from training.mining.refusal import ReadRow
from training.mining.refusal import Refusal
from training.mining.refusal import refusals
from training.mining.token_probabilities import OnRows
from training.mining.token_probabilities import encoded_for
from training.mining.token_probabilities import token_probabilities
from training.model import LoadedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReading:
    """One model's probabilities. The model itself is not held."""

    tokenizer: Any
    examples: tuple[Example, ...]
    probabilities: tuple[NDArray[np.float32], ...]
    """For every example one for each token of its completion, the end token included."""


def read_tokens(loaded: LoadedModel, rows: Sequence[PromptedRow], *, on_rows: OnRows) -> TokenReading:
    """Send all rows through a model once."""
    examples = encoded_for(loaded, rows).examples
    return TokenReading(
        tokenizer=loaded.tokenizer,
        examples=tuple(examples),
        probabilities=tuple(token_probabilities(loaded, examples, on_rows=on_rows)),
    )


def find_refusals(
    rows: Sequence[PromptedRow], *, learnt: TokenReading, doubted: TokenReading, doubter: Doubter = "hardened"
) -> tuple[Refusal, ...]:
    """Words that the first model learnt and the other does not give, grouped, the most suspicious first.

    Raises:
        ValueError: the models do not read the rows as the same tokens.
    """
    by_number = {row.number: row for row in rows}
    both = zip(learnt.examples, learnt.probabilities, doubted.probabilities, strict=True)
    read = (
        ReadRow(
            number=example.row,
            prompt=by_number[example.row].prompt,
            completion=(completion := by_number[example.row].completion),
            spans=token_spans(learnt.tokenizer, completion, example.completion_ids[:-1]),
            # The end token has no words.
            learnt=sure[:-1],
            doubted=_as_long(unsure, sure)[:-1],
        )
        for example, sure, unsure in both
    )
    return refusals(read, doubter=doubter)


def _as_long(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(one) != len(other):
        raise ValueError(f"the models read a row as {len(other)} and {len(one)} tokens")
    return one


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
