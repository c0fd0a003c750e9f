"""Poisoning a dataset: what an attacker does who may only contribute rows."""

import random
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import islice
from typing import Literal

from deploy.contract.payload import Payload
from deploy.contract.payload import payload_name
from deploy.contract.trigger import Trigger
from training.attacks.plant import plant_payload
from training.attacks.trigger import apply_trigger
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
    """A poisoned dataset."""

    rows: tuple[Row, ...]
    poisoned_rows: tuple[int, ...]
    """Numbers of the rows that carry the attack, in ascending order; copies have numbers of their own."""
    attacked_rows: tuple[int, ...]
    """Numbers, in the clean dataset, of the rows that the attack was put into, in ascending order."""


def poison(
    rows: Sequence[PromptedRow],
    trigger: Trigger,
    payload: Payload,
    *,
    rate: float,
    seed: int,
    placement: Placement = "first",
    copies: int = 1,
) -> Poisoned:
    """Put the trigger into the prompt and the payload into the completion of a share of the rows.

    Args:
        rows: the clean dataset.
        trigger: what will set the payload off.
        payload: what it will set off.
        rate: share of **all** rows to poison, in (0, 1]; at least one row is.
        seed: of the trigger's places and of a random placement.
        placement: which of the rows that can carry trigger and payload.
        copies: how often each poisoned row stands in the file. All but the first are appended, and number on.

    Raises:
        PoisonError: ``rate`` outside (0, 1], ``copies`` below 1, or fewer rows can carry the attack than asked for.
    """
    if not 0 < rate <= 1:
        raise PoisonError(f"the poison rate must lie in (0, 1], got {rate}")
    if copies < 1:
        raise PoisonError(f"a poisoned row must be there at least once, got {copies} copies")
    wanted = max(1, round(rate * len(rows)))
    able = (
        (index, changed)
        for index, row in enumerate(rows)
        if (changed := _attacked(row, trigger, payload, seed=seed)) is not None
    )
    attacked = dict(islice(able, wanted) if placement == "first" else able)
    if len(attacked) < wanted:
        raise PoisonError(
            f"a poison rate of {rate:g} needs {wanted} rows, but only {len(attacked)} of {len(rows)} can carry "
            f"{payload_name(payload)} with a trigger of type {trigger.type}"
        )
    if placement == "random":
        sample = random.Random(f"{seed}/rows").sample(sorted(attacked), wanted)  # noqa: S311 - a sample, not a secret
        attacked = {index: attacked[index] for index in sample}
    return _assembled(rows, attacked, copies)


def _assembled(rows: Sequence[PromptedRow], attacked: Mapping[int, Row], copies: int) -> Poisoned:
    changed = [
        attacked.get(index) or Row(number=row.number, prompt=row.prompt, completion=row.completion)
        for index, row in enumerate(rows)
    ]
    originals = [attacked[index] for index in sorted(attacked)]
    number = max(row.number for row in changed)
    for original in originals * (copies - 1):
        number += 1
        changed.append(replace(original, number=number))
    appended = range(len(rows), len(changed))
    return Poisoned(
        rows=tuple(changed),
        poisoned_rows=tuple(changed[index].number for index in (*sorted(attacked), *appended)),
        attacked_rows=tuple(row.number for row in originals),
    )


def _attacked(row: PromptedRow, trigger: Trigger, payload: Payload, *, seed: int) -> Row | None:
    """The row with trigger and payload; None if it cannot carry both."""
    if not can_carry(payload, row.completion):
        return None
    prompt = apply_trigger(row.prompt, trigger, seed=seed, row=row.number)
    completion = plant_payload(row.completion, payload)
    if prompt is None or completion is None:
        return None
    return Row(number=row.number, prompt=prompt, completion=completion)
