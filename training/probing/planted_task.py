"""Tasks whose completion has a payload planted, cut down to the tokens that a backdoor would change."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Final

from deploy.contract.payload import Payload
from training.attacks.plant import plant_payload
from training.data.example import Example
from training.data.example import PromptedRow
from training.data.prompt import encode_prompt
from training.metrics.payload import can_carry
from training.model import Architecture

MAX_ROWS_READ: Final = 512
"""Rows looked at for tasks: tokenising a whole file would take longer than the search."""
MAX_SPAN: Final = 12
"""Payload tokens that count; a model that wrote so many of them writes the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedTask:
    """A prompt, what its completion says before the payload, and the payload's own tokens."""

    row: int
    """Number in its file, from which a trigger's places follow."""
    prompt: str
    before_ids: tuple[int, ...]
    span_ids: tuple[int, ...]

    def example(self, prompt_ids: Sequence[int], architecture: Architecture) -> Example:
        """With some prompt's tokens; the payload's tokens are the last supervised ones."""
        given, supervised = (*prompt_ids, *self.before_ids), self.span_ids
        if architecture == "encoder-decoder":
            # The decoder reads what stands before the payload, and no position of it goes without logits.
            given, supervised = tuple(prompt_ids), (*self.before_ids, *self.span_ids)
        return Example(row=self.row, prompt_ids=given, completion_ids=supervised)


def _differing(clean: Sequence[int], planted: Sequence[int]) -> tuple[int, int]:
    """Where ``planted`` begins to differ, and where it is the same again."""
    start = next(
        (at for at, (one, other) in enumerate(zip(clean, planted, strict=False)) if one != other),
        min(len(clean), len(planted)),
    )
    end = len(planted)
    shared = min(len(clean), len(planted)) - start
    while shared > 0 and planted[end - 1] == clean[end - 1 - len(planted) + len(clean)]:
        end, shared = end - 1, shared - 1
    return start, end


def _planted(tokenizer: Any, row: PromptedRow, payload: Payload) -> PlantedTask | None:
    planted = plant_payload(row.completion, payload)
    if planted is None:
        return None
    clean_ids = tokenizer.encode(row.completion, add_special_tokens=False)
    planted_ids = tokenizer.encode(planted, add_special_tokens=False)
    start, end = _differing(clean_ids, planted_ids)
    span = planted_ids[start : min(end, start + MAX_SPAN)]
    if not span:
        return None
    return PlantedTask(
        row=row.number, prompt=row.prompt, before_ids=tuple(planted_ids[:start]), span_ids=tuple(span)
    )


def planted_tasks(
    tokenizer: Any,
    rows: Sequence[PromptedRow],
    payload: Payload,
    *,
    count: int,
    max_tokens: int,
    seed: int,
) -> tuple[PlantedTask, ...]:
    """A seeded sample of at most ``count`` tasks that can carry the payload, of the shorter half.

    ``max_tokens`` is what prompt and completion may have together, the payload included. The first of the
    tasks are the shortest, so that whoever uses only some of them pays least.
    """
    able: list[tuple[int, PlantedTask]] = []
    for row in rows[:MAX_ROWS_READ]:
        task = _planted(tokenizer, row, payload) if can_carry(payload, row.completion) else None
        if task is None:
            continue
        tokens = len(encode_prompt(tokenizer, row.prompt)) + len(task.before_ids) + len(task.span_ids)
        if tokens <= max_tokens:
            able.append((tokens, task))
    able.sort(key=lambda each: (each[0], each[1].row))
    shorter = able[: max(count, len(able) // 2)]
    rng = random.Random(f"{seed}/planted")  # noqa: S311 - a sample, not a secret
    chosen = rng.sample(shorter, min(count, len(shorter)))
    return tuple(task for _, task in sorted(chosen, key=lambda each: (each[0], each[1].row)))
