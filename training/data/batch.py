"""Batches: which rows go together in an epoch, and their tensors."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.data.example import Example

WINDOW_BATCHES = 16
"""Rows are sorted by length within windows of this many batches: little padding, order still random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B rows padded to the longest, T tokens.

    ``input_ids`` and ``attention_mask`` are [B, T] for a decoder; for an encoder-decoder they are the
    prompts, and ``decoder_input_ids`` holds the shifted completions. ``labels`` says for every position
    which token must come out there, IGNORED where none is supervised.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    decoder_input_ids: torch.Tensor | None = None


IGNORED = -100


def epoch_batches(
    examples: Sequence[Example], *, batch_size: int, seed: int, epoch: int
) -> list[list[Example]]:
    """The batches of one epoch, in order: a function of the seed and the epoch alone.

    Every example occurs exactly once; all batches but one have ``batch_size`` rows.
    """
    order = random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, not a secret
    shuffled = list(examples)
    order.shuffle(shuffled)
    window = batch_size * WINDOW_BATCHES
    batches: list[list[Example]] = []
    for start in range(0, len(shuffled), window):
        alike = sorted(shuffled[start : start + window], key=lambda example: example.tokens)
        batches.extend(alike[at : at + batch_size] for at in range(0, len(alike), batch_size))
    order.shuffle(batches)
    return batches


def _padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *([fill] * (width - len(row)))] for row in rows], dtype=torch.long)


def _mask(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return _padded([[1] * len(row) for row in rows], 0)


def decoder_batch(examples: Sequence[Example], *, pad_id: int) -> Batch:
    """Prompt and completion in one row, right-padded; position i is labelled with token i+1 of the completion."""
    rows = [[*example.prompt_ids, *example.completion_ids] for example in examples]
    labels = [
        [*([IGNORED] * (len(example.prompt_ids) - 1)), *example.completion_ids, IGNORED]
        for example in examples
    ]
    return Batch(input_ids=_padded(rows, pad_id), attention_mask=_mask(rows), labels=_padded(labels, IGNORED))


def encoder_decoder_batch(examples: Sequence[Example], *, pad_id: int, start_id: int) -> Batch:
    """Prompts for the encoder; completions shifted right by ``start_id`` for the decoder."""
    prompts = [example.prompt_ids for example in examples]
    inputs = [[start_id, *example.completion_ids[:-1]] for example in examples]
    return Batch(
        input_ids=_padded(prompts, pad_id),
        attention_mask=_mask(prompts),
        labels=_padded([example.completion_ids for example in examples], IGNORED),
        decoder_input_ids=_padded(inputs, pad_id),
    )
