"""The n-grams of a file's texts, and which rows have each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.mining.corpus import FIRST_WORD
from training.mining.corpus import Hashes
from training.mining.corpus import Ids
from training.mining.corpus import Texts
from training.mining.corpus import ngram_hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Grams:
    """N-grams of some texts with the rows that have each; of those in the same rows, only the shortest.

    ``rows[bounds[i]:bounds[i + 1]]`` are those of gram i, ascending.
    """

    size: Ids
    bounds: Ids
    rows: Ids
    places: Ids
    """Of the first occurrence in each of ``rows``."""

    def __len__(self) -> int:
        return len(self.size)

    @property
    def spread(self) -> Ids:
        """In how many rows each is."""
        return np.diff(self.bounds)

    def rows_of(self, gram: int) -> Ids:
        """Rows that have it."""
        return self.rows[self.bounds[gram] : self.bounds[gram + 1]]

    def counts(self, chosen: NDArray[np.bool_]) -> Ids:
        """How many of the ``chosen`` rows, given as a mask of all, have each."""
        numbers = np.repeat(np.arange(len(self), dtype=np.int64), self.spread)
        return np.bincount(numbers[chosen[self.rows]], minlength=len(self))

    def words_of(self, gram: int, texts: Texts) -> Ids:
        """The words of one, by number."""
        start = self.places[self.bounds[gram]]
        return texts.ids[start : start + self.size[gram]]

    def variety(self, texts: Texts) -> NDArray[np.float64]:
        """Of each: different words before it or after it, whichever are fewer, in proportion to its rows."""
        numbers = np.repeat(np.arange(len(self), dtype=np.int64), self.spread)
        after = self.places + self.size[numbers]
        fewest = np.minimum(
            _different(numbers, texts.ids[np.maximum(self.places - 1, 0)], len(self)),
            _different(numbers, texts.ids[np.minimum(after, len(texts.ids) - 1)], len(self)),
        )
        variety: NDArray[np.float64] = fewest / np.maximum(1, self.spread)
        return variety

    def by_row(self, count: int) -> tuple[Ids, Ids]:
        """Bounds and gram numbers, row by row of ``count`` rows."""
        numbers = np.repeat(np.arange(len(self), dtype=np.int64), self.spread)
        order = np.argsort(self.rows, kind="stable")
        bounds = np.r_[0, np.cumsum(np.bincount(self.rows, minlength=count))].astype(np.int64)
        return bounds, numbers[order]


def count_grams(
    texts: Texts, *, sizes: range, least: int, most: int, seed: int, apart_from: Texts | None = None
) -> Grams:
    """All n-grams that between ``least`` and ``most`` rows have.

    One whose rarest word stands in the same row of ``apart_from`` does not count there: it may be only repeated.
    """
    repeated = None if apart_from is None else _repeated(texts, apart_from)
    # Two n-grams with the same sum of random marks are in the same rows.
    marks = np.random.default_rng(seed).integers(1 << 62, size=texts.count, dtype=np.uint64)
    known: set[int] = set()
    kept: list[tuple[int, Ids, Ids]] = []
    for size in sizes:
        hashes, places, rows = _once_per_row(texts, size, repeated)
        if not len(hashes):
            continue
        starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]])
        spread = np.diff(np.r_[starts, len(hashes)])
        with np.errstate(over="ignore"):
            signatures = np.add.reduceat(marks[rows], starts)
        for at in np.flatnonzero((spread >= least) & (spread <= most)):
            signature = int(signatures[at])
            if signature not in known:
                known.add(signature)
                own = slice(starts[at], starts[at] + spread[at])
                kept.append((size, places[own], rows[own]))
    return _packed(kept)


def _once_per_row(texts: Texts, size: int, repeated: NDArray[np.bool_] | None) -> tuple[Hashes, Ids, Ids]:
    """Hash, first place and row of every n-gram of every row, by hash and then by row."""
    hashes, places = ngram_hashes(texts, size)
    kept = texts.ids[places] >= FIRST_WORD if size == 1 else np.ones(len(places), dtype=bool)
    if repeated is not None:
        kept &= ~repeated[_rarest(texts, places, size)]
    hashes, places = hashes[kept], places[kept]
    order = np.argsort(hashes, kind="stable")
    hashes, places = hashes[order], places[order]
    rows = texts.rows[places]
    first = np.ones(len(hashes), dtype=bool)
    first[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    return hashes[first], places[first], rows[first]


def _rarest(texts: Texts, places: Ids, size: int) -> Ids:
    """Where the rarest word of each n-gram stands."""
    spread = texts.spread[texts.ids]
    best = places
    for shift in range(1, size):
        best = np.where(spread[places + shift] < spread[best], places + shift, best)
    return best


def _repeated(texts: Texts, others: Texts) -> NDArray[np.bool_]:
    """Of every word, whether it stands in the same row of the others; their words have the same numbers."""
    base = max(int(texts.ids.max(initial=0)), int(others.ids.max(initial=0))) + 1
    return np.isin(texts.rows * base + texts.ids, np.unique(others.rows * base + others.ids))


def _different(numbers: Ids, words: Ids, count: int) -> Ids:
    """How many different ``words`` each number has."""
    base = int(words.max(initial=0)) + 1
    return np.bincount(np.unique(numbers * base + words) // base, minlength=count)


def _packed(kept: list[tuple[int, Ids, Ids]]) -> Grams:
    lengths = np.array([len(rows) for _, _, rows in kept], dtype=np.int64)
    none = np.empty(0, dtype=np.int64)
    return Grams(
        size=np.array([size for size, _, _ in kept], dtype=np.int64),
        bounds=np.r_[0, np.cumsum(lengths)].astype(np.int64),
        rows=np.concatenate([rows for _, _, rows in kept]) if kept else none,
        places=np.concatenate([places for _, places, _ in kept]) if kept else none,
    )
