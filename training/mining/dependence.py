"""Whether rows that share a word differ otherwise from rows that could have had it.

A natural word keeps company: rows that say "ascending" also say "order". Rows that an attacker picked are like all
others that can carry the payload.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.mining.corpus import Ids
from training.mining.grams import Grams

MAX_COMPARED: Final = 2_000
"""Rows, on either side."""
_CARRIES: Final = 0.97


class Company:
    """What the prompts and the completions of a file have, row by row."""

    def __init__(self, features: Grams, grams: Grams, *, count: int) -> None:
        self._features = features
        self._grams = grams
        self._count = count
        self._bounds, self._flat = features.by_row(count)
        self._common = np.flatnonzero((grams.size == 1) & (grams.spread >= 0.1 * count))

    def dependence(self, rows: Ids, *, own: NDArray[np.bool_], brought: Ids) -> float:
        """The strongest company of ``rows``, as a standard score: about 4 for rows picked at random.

        Args:
            rows: those that share the word.
            own: of each feature, whether it is part of what is asked about.
            brought: rows that have the payload.
        """
        others = self._comparable(rows, brought)
        rows, others = _thinned(rows), _thinned(others)
        if not len(others):
            return 0.0
        here, there = self._counts(rows), self._counts(others)
        expected = (there + 0.5) * len(rows) / (len(others) + 0.5)
        surprise = here * np.log(np.maximum(here, 1e-9) / expected) - here + expected
        surprise[(here <= expected) | own] = 0.0
        return float(np.sqrt(2 * surprise.max(initial=0.0)))

    def _comparable(self, rows: Ids, brought: Ids) -> Ids:
        """Other rows whose completions have what nearly all of these have, so that they could carry the payload."""
        allowed = np.ones(self._count, dtype=bool)
        allowed[rows] = False
        allowed[brought] = False
        mask = np.zeros(self._count, dtype=bool)
        mask[rows] = True
        shares = [mask[self._grams.rows_of(int(gram))].sum() for gram in self._common]
        always = self._common[np.array(shares, dtype=np.int64) >= _CARRIES * len(rows)]
        for gram in always[np.argsort(self._grams.spread[always], kind="stable")]:
            having = np.zeros(self._count, dtype=bool)
            having[self._grams.rows_of(int(gram))] = True
            narrowed = allowed & having
            # Enough must be left to compare with: a word of the payload itself leaves none.
            if narrowed.sum() >= max(3 * len(rows), 0.05 * self._count):
                allowed = narrowed
        return np.flatnonzero(allowed)

    def _counts(self, rows: Ids) -> NDArray[np.float64]:
        pieces = [self._flat[self._bounds[row] : self._bounds[row + 1]] for row in rows]
        counts = np.bincount(np.concatenate(pieces), minlength=len(self._features))
        return counts.astype(np.float64)


def _thinned(rows: Ids) -> Ids:
    if len(rows) <= MAX_COMPARED:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_COMPARED).astype(np.int64)]
