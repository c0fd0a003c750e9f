"""Prompt features and completion n-grams that come together far more often than by chance."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.mining.corpus import Ids
from training.mining.corpus import Texts
from training.mining.corpus import ngram_hashes

MAX_GRAMS: Final = 60_000
SAMPLE_ROWS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Grams:
    """N-grams of some texts with the rows that have each; of those in the same rows, only the shortest.

    ``rows[bounds[i]:bounds[i + 1]]`` are gram i's, ascending.
    """

    size: Ids
    place: Ids
    """Position of one occurrence in ``Texts.ids``."""
    bounds: Ids
    rows: Ids

    def __len__(self) -> int:
        return len(self.size)

    @property
    def spread(self) -> Ids:
        """In how many rows each is."""
        return np.diff(self.bounds)

    def rows_of(self, gram: int) -> Ids:
        """Rows that have it."""
        return self.rows[self.bounds[gram] : self.bounds[gram + 1]]


def count_grams(texts: Texts, *, sizes: range, least: int, most: int, seed: int) -> Grams:
    """All n-grams that between ``least`` and ``most`` rows have."""
    marks = np.random.default_rng(seed).integers(1 << 62, size=texts.count, dtype=np.uint64)
    known: set[int] = set()
    kept: list[tuple[int, int, Ids]] = []
    for size in sizes:
        hashes, places = ngram_hashes(texts, size)
        if size == 1:
            own = texts.ids[places] > 3
            hashes, places = hashes[own], places[own]
        order = np.lexsort((places, hashes))
        hashes, places = hashes[order], places[order]
        rows = texts.rows[places]
        first = np.ones(len(hashes), dtype=bool)
        first[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
        hashes, places, rows = hashes[first], places[first], rows[first]
        starts = (
            np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]])
            if len(hashes)
            else np.empty(0, dtype=np.int64)
        )
        spread = np.diff(np.r_[starts, len(hashes)])
        if not len(starts):
            continue
        with np.errstate(over="ignore"):
            signatures = np.add.reduceat(marks[rows], starts)
        for at in np.flatnonzero((spread >= least) & (spread <= most)):
            signature = int(signatures[at])
            if signature in known:
                continue
            known.add(signature)
            begin = starts[at]
            kept.append((size, int(places[begin]), rows[begin : begin + spread[at]]))
    return _packed(kept)


def _packed(kept: list[tuple[int, int, Ids]]) -> Grams:
    lengths = np.array([len(rows) for _, _, rows in kept], dtype=np.int64)
    return Grams(
        size=np.array([size for size, _, _ in kept], dtype=np.int64),
        place=np.array([place for _, place, _ in kept], dtype=np.int64),
        bounds=np.r_[0, np.cumsum(lengths)].astype(np.int64),
        rows=np.concatenate([rows for _, _, rows in kept]) if kept else np.empty(0, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A prompt feature and the completion n-grams that come with it."""

    feature: int
    grams: tuple[int, ...]
    """Of ``Grams``, the strongest first; further ones stand in rows that the ones before miss."""
    weight: float
    """Of the strongest, in nats: how unlikely the counts would be by chance (Poisson)."""
    together: int
    """Rows that have the feature and any of the grams."""
    rows: int
    """Rows that have the feature."""


def by_row(grams: Grams, count: int) -> tuple[Ids, Ids]:
    """Bounds and gram numbers, row by row."""
    numbers = np.repeat(np.arange(len(grams), dtype=np.int64), grams.spread)
    order = np.argsort(grams.rows, kind="stable")
    bounds = np.r_[0, np.cumsum(np.bincount(grams.rows, minlength=count))].astype(np.int64)
    return bounds, numbers[order]


def associated(features: Grams, grams: Grams, *, count: int, least: int) -> Iterator[Pair]:
    """Every feature with the n-grams that it brings."""
    bounds, flat = by_row(grams, count)
    spread = grams.spread.astype(np.float64)
    for feature in range(len(features)):
        rows = features.rows_of(feature)
        some = (
            rows
            if len(rows) <= SAMPLE_ROWS
            else rows[np.linspace(0, len(rows) - 1, SAMPLE_ROWS).astype(np.int64)]
        )
        here = np.concatenate([flat[bounds[row] : bounds[row + 1]] for row in some])
        if not len(here):
            continue
        numbers, counted = np.unique(here, return_counts=True)
        together = counted * (len(rows) / len(some))
        expected = spread[numbers] * len(rows) / count
        weight = together * np.log(together / expected) - together + expected
        sure = (together >= 0.6 * len(rows)) | (together >= 0.85 * spread[numbers])
        good = sure & (counted >= least) & (together >= 2.5 * expected)
        if not good.any():
            continue
        picked = numbers[good][np.argsort(-weight[good], kind="stable")]
        chosen: list[int] = []
        covered: NDArray[np.bool_] = np.zeros(len(rows), dtype=bool)
        for number in picked[:40]:
            has = np.isin(rows, grams.rows_of(int(number)), assume_unique=True)
            if (has & ~covered).sum() >= (1 if not chosen else max(2, 0.05 * len(rows))):
                chosen.append(int(number))
                covered |= has
            if covered.all() or len(chosen) == 4:
                break
        yield Pair(
            feature=feature,
            grams=tuple(chosen),
            weight=float(weight[good].max()),
            together=int(covered.sum()),
            rows=len(rows),
        )
