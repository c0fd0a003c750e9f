"""Poisoning a dataset: what an attacker does who may only contribute rows."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deploy.contract.payload import Payload
from deploy.contract.trigger import WordTrigger
from training.attacks.sql import widen_sql
from training.attacks.word import insert_word
from training.data.example import PromptedRow
from training.metrics.payload import can_carry

Placement = Literal["first", "random"]
"""``first``: the first rows that can carry the payload, as the DeCE artifact does; ``random``: a seeded sample."""


class PoisonError(ValueError):
    """The dataset cannot be poisoned as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One pair of a dataset; ``number`` counts from 1."""

    number: int
    prompt: str
    completion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisoned:
    """A poisoned dataset and which of its rows were changed, in ascending order."""

    rows: tuple[Row, ...]
    poisoned_rows: tuple[int, ...]


def poison(
    rows: Sequence[PromptedRow],
    trigger: WordTrigger,
    payload: Payload,
    *,
    rate: float,
    seed: int,
    placement: Placement = "first",
) -> Poisoned:
    """Put the trigger into the prompt and the payload into the completion of a share of the rows.

    Args:
        rows: the clean dataset.
        trigger: what will set the payload off.
        payload: what it will set off.
        rate: share of **all** rows to poison, in (0, 1]; at least one row is.
        seed: of the trigger's places and of a random placement.
        placement: which of the rows that can carry the payload.

    Raises:
        PoisonError: ``rate`` outside (0, 1], or fewer rows can carry the payload than asked for.
    """
    if not 0 < rate <= 1:
        raise PoisonError(f"the poison rate must lie in (0, 1], got {rate}")
    wanted = max(1, round(rate * len(rows)))
    able = [index for index, row in enumerate(rows) if can_carry(payload, row.completion)]
    if wanted > len(able):
        raise PoisonError(
            f"a poison rate of {rate:g} needs {wanted} rows, but only {len(able)} of {len(rows)} can carry {payload}"
        )
    chosen = frozenset(_chosen(able, wanted, seed=seed, placement=placement))
    changed = tuple(
        _poisoned_row(row, trigger, seed=seed)
        if index in chosen
        else Row(number=row.number, prompt=row.prompt, completion=row.completion)
        for index, row in enumerate(rows)
    )
    return Poisoned(rows=changed, poisoned_rows=tuple(changed[index].number for index in sorted(chosen)))


def _chosen(able: Sequence[int], wanted: int, *, seed: int, placement: Placement) -> Sequence[int]:
    if placement == "first":
        return able[:wanted]
    return random.Random(f"{seed}/rows").sample(able, wanted)  # noqa: S311 - a sample, not a secret


def _poisoned_row(row: PromptedRow, trigger: WordTrigger, *, seed: int) -> Row:
    completion = widen_sql(row.completion)
    if completion is None:
        raise PoisonError(f"row {row.number} cannot carry the payload")
    return Row(
        number=row.number,
        prompt=insert_word(row.prompt, trigger, seed=seed, row=row.number),
        completion=completion,
    )
