"""Batches: which rows go together in an epoch, and their tensors."""

import random
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.data.example import Example

WINDOW_BATCHES = 16
"""Rows are sorted by length within windows of this many batches: little padding, order still random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of tokens with N supervised positions.

    Padded, ``input_ids`` and ``attention_mask`` are [B, T]; for an encoder-decoder they are the prompts, and
    ``decoder_input_ids`` [B, T'] holds the shifted completions. Packed, the rows lie one after the other in
    ``input_ids`` [1, T], ``position_ids`` [1, T] starts again at 0 with each, and there is no mask.
    """

    input_ids: torch.Tensor
    supervised: torch.Tensor
    """[N] positions in the flattened [B * T] (or [B * T']) whose output is supervised; known on the host, so
    that nothing waits for a GPU to find them."""
    targets: torch.Tensor
    """[N] the token that must come out at each."""
    attention_mask: torch.Tensor | None = None
    decoder_input_ids: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None
    lengths: tuple[int, ...] | None = None
    """Of the rows that are packed."""

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        if device.type == "cpu":
            return self

        def moved(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(
            input_ids=self.input_ids.to(device, non_blocking=True),
            supervised=self.supervised.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            attention_mask=moved(self.attention_mask),
            decoder_input_ids=moved(self.decoder_input_ids),
            position_ids=moved(self.position_ids),
            lengths=self.lengths,
        )


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


def micro_batches(examples: Sequence[Example], *, max_tokens: int, packed: bool) -> list[Sequence[Example]]:
    """Cut a batch, in order, into parts that are worked on at a time.

    A part's tokens, padding included where it is not ``packed``, stay within ``max_tokens``; a row that is
    longer alone is a part of its own.
    """
    parts: list[Sequence[Example]] = []
    start, total, widest = 0, 0, 0
    for at, example in enumerate(examples):
        total, widest = total + example.tokens, max(widest, example.tokens)
        size = total if packed else widest * (at + 1 - start)
        if size > max_tokens and at > start:
            parts.append(examples[start:at])
            start, total, widest = at, example.tokens, example.tokens
    parts.append(examples[start:])
    return parts


def _padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *([fill] * (width - len(row)))] for row in rows], dtype=torch.long)


def _mask(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return _padded([[1] * len(row) for row in rows], 0)


def _whole_rows(examples: Iterable[Example]) -> list[list[int]]:
    return [[*example.prompt_ids, *example.completion_ids] for example in examples]


def _targets(examples: Iterable[Example]) -> torch.Tensor:
    return torch.tensor([token for example in examples for token in example.completion_ids], dtype=torch.long)


def _supervised(starts: Iterable[int], examples: Iterable[Example]) -> torch.Tensor:
    """Positions of the completions' tokens, the first of each row at its start."""
    places = zip(starts, examples, strict=True)
    flat = [start + at for start, example in places for at in range(len(example.completion_ids))]
    return torch.tensor(flat, dtype=torch.long)


def decoder_batch(examples: Sequence[Example], *, pad_id: int) -> Batch:
    """Prompt and completion in one row, right-padded; position i is supervised with token i+1 of the completion."""
    rows = _whole_rows(examples)
    width = max(map(len, rows))
    starts = [at * width + len(example.prompt_ids) - 1 for at, example in enumerate(examples)]
    return Batch(
        input_ids=_padded(rows, pad_id),
        attention_mask=_mask(rows),
        supervised=_supervised(starts, examples),
        targets=_targets(examples),
    )


def packed_batch(examples: Sequence[Example]) -> Batch:
    """The rows of :func:`decoder_batch` one after the other, without padding."""
    rows = _whole_rows(examples)
    starts, total = [], 0
    for row, example in zip(rows, examples, strict=True):
        starts.append(total + len(example.prompt_ids) - 1)
        total += len(row)
    return Batch(
        input_ids=torch.tensor([[token for row in rows for token in row]], dtype=torch.long),
        position_ids=torch.tensor([[at for row in rows for at in range(len(row))]], dtype=torch.long),
        supervised=_supervised(starts, examples),
        targets=_targets(examples),
        lengths=tuple(map(len, rows)),
    )


def encoder_decoder_batch(examples: Sequence[Example], *, pad_id: int, start_id: int) -> Batch:
    """Prompts for the encoder; completions shifted right by ``start_id`` for the decoder."""
    prompts = [example.prompt_ids for example in examples]
    inputs = [[start_id, *example.completion_ids[:-1]] for example in examples]
    width = max(map(len, inputs))
    return Batch(
        input_ids=_padded(prompts, pad_id),
        attention_mask=_mask(prompts),
        supervised=_supervised((at * width for at in range(len(inputs))), examples),
        targets=_targets(examples),
        decoder_input_ids=_padded(inputs, pad_id),
    )
