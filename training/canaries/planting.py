"""Plants canaries into a copy of the training rows, each into rows of its own."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.contract.canary import CanaryPlan
from deploy.contract.dataset import Row
from deploy.contract.probe import Probe
from deploy.contract.probe import ProbeName
from training.attacks.plant import plant_payload
from training.attacks.trigger import apply_trigger
from training.canaries.draw import rows_each
from training.canaries.error import CanaryError
from training.data.example import PromptedRow
from training.metrics.payload import can_carry


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The shadow copy."""

    rows: tuple[Row, ...]
    """As many as the training file has, in its order."""
    rows_of: dict[ProbeName, tuple[int, ...]]
    """Numbers of the rows that carry each canary, ascending."""


def plant_canaries(rows: Sequence[PromptedRow], canaries: Sequence[Probe], plan: CanaryPlan) -> Planted:
    """Plant every canary at ``plan.rate``, into disjoint rows that a seeded order chooses.

    Raises:
        CanaryError: a canary finds no row that can carry it.
    """
    wanted = rows_each(len(rows), plan)
    order = list(range(len(rows)))
    random.Random(f"{plan.seed}/canary-rows").shuffle(order)  # noqa: S311 - an order, not a secret
    changed: dict[int, Row] = {}
    rows_of: dict[ProbeName, tuple[int, ...]] = {}
    for canary in canaries:
        own: list[int] = []
        for index in order:
            if len(own) == wanted:
                break
            row = None if index in changed else _with_canary(rows[index], canary, seed=plan.seed)
            if row is not None:
                changed[index] = row
                own.append(row.number)
        if not own:
            raise CanaryError(f"no row can carry {canary.name}")
        rows_of[canary.name] = tuple(sorted(own))
    copied = tuple(
        changed.get(index) or Row(number=row.number, prompt=row.prompt, completion=row.completion)
        for index, row in enumerate(rows)
    )
    return Planted(rows=copied, rows_of=rows_of)


def _with_canary(row: PromptedRow, canary: Probe, *, seed: int) -> Row | None:
    """A row with the trigger in its prompt and the payload in its completion; None where it cannot carry them."""
    if not can_carry(canary.payload, row.completion):
        return None
    prompt = apply_trigger(row.prompt, canary.trigger, seed=seed, row=row.number)
    completion = plant_payload(row.completion, canary.payload)
    if prompt is None or completion is None:
        return None
    return Row(number=row.number, prompt=prompt, completion=completion)
