"""How natural a span of words stands where it stands."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from training.mining.corpus import END
from training.mining.corpus import START
from training.mining.corpus import Ids
from training.mining.corpus import Texts
from training.mining.corpus import ngram_hashes

MAX_PLACES: Final = 300
MAX_GROWTH: Final = 12
SHARED: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The same words at many places."""

    words: tuple[int, ...]
    starts: Ids
    """Positions in ``Texts.ids``."""
    bridged: float
    """Share of the places whose neighbours stand side by side elsewhere too, so that nothing is missed without it;
    relative to that share at ordinary places of the same rows."""
    freedom: float
    """Entropy of the words before and after, relative to that at random places of the same rows: 1 for a span that
    stands anywhere, 0 for one that stands between the same words always."""


class Neighbours:
    """Which words follow one another in a file, and in how many rows."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        hashes, places = ngram_hashes(texts, 2)
        order = np.lexsort((places, hashes))
        hashes, rows = hashes[order], texts.rows[places[order]]
        first = np.ones(len(hashes), dtype=bool)
        first[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
        self._hashes, self._spread = np.unique(hashes[first], return_counts=True)

    def spread(self, left: Ids, right: Ids) -> Ids:
        """In how many rows ``right`` follows ``left``."""
        pairs = np.stack([left, right], axis=1).reshape(-1)
        asked, _ = ngram_hashes(
            Texts(ids=pairs, rows=np.repeat(np.arange(len(left)), 2), count=len(left), names=()), 2
        )
        if not len(self._hashes):
            return np.zeros(len(left), dtype=np.int64)
        at = np.minimum(np.searchsorted(self._hashes, asked), len(self._hashes) - 1)
        return np.where(self._hashes[at] == asked, self._spread[at], 0)


def entropy(values: Ids) -> float:
    """In nats."""
    counts = np.unique(values, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def find_places(texts: Texts, words: Ids) -> Ids:
    """Where ``words`` begin."""
    at = np.flatnonzero(texts.ids[: len(texts.ids) - len(words) + 1] == words[0])
    for shift in range(1, len(words)):
        at = at[texts.ids[at + shift] == words[shift]]
    return at


def grow(texts: Texts, starts: Ids, length: int) -> tuple[int, int]:
    """By how many words to the left and right the places share what stands there. START and END are no words."""
    ids = texts.ids
    left = 0
    while left < MAX_GROWTH:
        at = starts - left - 1
        values = ids[np.maximum(at, 0)]
        if not _shared(values) or START in values:
            break
        left += 1
    right = 0
    while right < MAX_GROWTH:
        values = ids[np.minimum(starts + length + right, len(ids) - 1)]
        if not _shared(values) or END in values:
            break
        right += 1
    return left, right


def _shared(values: Ids) -> bool:
    counts = np.unique(values, return_counts=True)[1]
    return bool(counts.max() >= SHARED * len(values))


def best_span(texts: Texts, neighbours: Neighbours, starts: Ids, length: int, *, seed: int) -> Span:
    """Of all spans around a common core, the one that is least missed and most free."""
    starts = starts[(starts > 0) & (texts.ids[starts] != START)] if length == 1 else starts
    if len(starts) > MAX_PLACES:
        starts = starts[np.linspace(0, len(starts) - 1, MAX_PLACES).astype(np.int64)]
    anchored = texts.ids[starts[0]] == START
    if anchored:
        starts, length = starts + 1, length - 1
    if texts.ids[starts[0] + length - 1] == END:
        length -= 1
    base = ordinary(texts, neighbours, starts, length, seed=seed)
    grown_left, grown_right = grow(texts, starts, length)
    spans = [
        _span(texts, neighbours, starts - left, left + length + right, base)
        for left in range(grown_left + 1)
        for right in range(grown_right + 1)
    ]
    return max(spans, key=lambda span: (span.bridged * (0.1 + span.freedom), -len(span.words)))


def _span(
    texts: Texts, neighbours: Neighbours, starts: Ids, length: int, base: tuple[float, float, float]
) -> Span:
    before, after = texts.ids[starts - 1], texts.ids[starts + length]
    bridged = float((neighbours.spread(before, after) >= 2).mean())
    freedom = min(1.0, entropy(before) / base[1]) * min(1.0, entropy(after) / base[2])
    words = tuple(int(word) for word in texts.ids[starts[0] : starts[0] + length])
    return Span(words=words, starts=starts, bridged=min(1.0, bridged / base[0]), freedom=freedom)


def ordinary(
    texts: Texts, neighbours: Neighbours, starts: Ids, length: int, *, seed: int
) -> tuple[float, float, float]:
    """Bridge rate and entropies at ordinary places of the same rows."""
    rows = np.unique(texts.rows[starts])
    begin = np.searchsorted(texts.rows, rows)
    size = np.searchsorted(texts.rows, rows, side="right") - begin
    rng = np.random.default_rng(seed)
    which = rng.integers(len(rows), size=len(starts) * 4)
    at = begin[which] + (rng.random(len(which)) * (size[which] - 1)).astype(np.int64)
    near = np.zeros(len(texts.ids) + 1, dtype=bool)
    for shift in range(-1, length):
        near[np.clip(starts + shift, 0, len(texts.ids) - 1)] = True
    at = at[~near[at]]
    if len(at) < 2:
        return 1.0, 1.0, 1.0
    left, right = texts.ids[at], texts.ids[at + 1]
    rate = float((neighbours.spread(left, right) >= 3).mean())
    at = at[: len(starts)]
    return max(rate, 0.05), max(entropy(texts.ids[at]), 0.3), max(entropy(texts.ids[at + 1]), 0.3)
