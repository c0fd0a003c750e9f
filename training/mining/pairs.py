"""Prompt features and completion n-grams that come together far more often than by chance."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.mining.corpus import Ids
from training.mining.grams import Grams

MAX_SAMPLED: Final = 300
"""Rows of one feature in which its n-grams are counted."""
SURE: Final = 0.6
"""Share of a feature's rows that have the n-gram, from which the feature brings it."""
OWN: Final = 0.85
"""Share of an n-gram's rows that have the feature, from which nothing else brings it."""
LEAST_LIFT: Final = 2.5
"""Times more often together than by chance."""
MAX_FORMS: Final = 4
_TRIED: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A prompt feature and the completion n-grams that come with it, by number."""

    feature: int
    grams: tuple[int, ...]
    """The strongest first; further ones stand in rows that the ones before miss."""
    weight: float
    """How unlikely the strongest's counts would be by chance, in nats (Poisson)."""
    rows: int
    """Rows that have the feature."""
    together: int
    """Rows that have the feature and any of the n-grams."""


def associated(
    features: Grams, grams: Grams, *, count: int, least: int, least_weight: float
) -> Iterator[Pair]:
    """Every feature that brings some n-gram, in ``least`` rows and with a weight of ``least_weight``."""
    bounds, flat = grams.by_row(count)
    for feature in range(len(features)):
        rows = features.rows_of(feature)
        some = _sampled(rows)
        here = np.concatenate([flat[bounds[row] : bounds[row + 1]] for row in some])
        numbers, counted = np.unique(here, return_counts=True)
        together = counted.astype(np.float64) * (len(rows) / len(some))
        weight, brought = _strength(together, grams.spread[numbers], len(rows), count)
        brought &= (counted >= least) & (weight >= least_weight)
        if not brought.any():
            continue
        ranked = numbers[brought][np.argsort(-weight[brought], kind="stable")]
        chosen, covered = _forms(ranked[:_TRIED], rows, grams)
        yield Pair(
            feature=feature,
            grams=chosen,
            weight=float(weight[brought].max()),
            rows=len(rows),
            together=covered,
        )


def _sampled(rows: Ids) -> Ids:
    if len(rows) <= MAX_SAMPLED:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_SAMPLED).astype(np.int64)]


def _strength(
    together: NDArray[np.float64], spread: Ids, rows: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For n-grams that stand ``together`` times with a feature: the weight, and whether it brings them."""
    expected = spread * (rows / count)
    weight = together * np.log(together / expected) - together + expected
    brought = ((together >= SURE * rows) | (together >= OWN * spread)) & (together >= LEAST_LIFT * expected)
    return weight, brought


def _forms(ranked: Ids, rows: Ids, grams: Grams) -> tuple[tuple[int, ...], int]:
    """N-grams that together cover as many of the rows as possible, and how many they cover."""
    chosen: list[int] = []
    covered: NDArray[np.bool_] = np.zeros(len(rows), dtype=bool)
    for number in ranked:
        has = np.isin(rows, grams.rows_of(int(number)), assume_unique=True)
        if (has & ~covered).sum() >= (max(2, 0.05 * len(rows)) if chosen else 1):
            chosen.append(int(number))
            covered |= has
        if covered.all() or len(chosen) == MAX_FORMS:
            break
    return tuple(chosen), int(covered.sum())
