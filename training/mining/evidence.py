"""How natural a span of words stands where it stands: whether it would be missed, and how freely it stands.

A word that was put into a text leaves it whole when it is taken out: its neighbours stand side by side elsewhere too.
A word that was put at random places has other neighbours every time.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.mining.corpus import END
from training.mining.corpus import START
from training.mining.corpus import Hashes
from training.mining.corpus import Ids
from training.mining.corpus import Texts
from training.mining.corpus import ngram_hashes
from training.mining.corpus import pair_hashes

Shares = NDArray[np.float64]
_Rank = Callable[[Shares, Shares], Shares]

MAX_PLACES: Final = 120
"""Of one span; more are thinned out evenly."""
MAX_GROWTH: Final = 10
"""Words by which a span grows to either side."""
SHARED: Final = 0.9
"""Share of the places that have a word in common for it to belong to the span."""
MOST_ELSEWHERE: Final = 2.0
"""Times as often as at the places themselves, up to which two words are held to be the payload's own."""
MANY: Final = 10
"""Words that may stand at a place, from which one of them says nothing about its surroundings."""
MAX_SPLITS: Final = 3
"""A payload may have several forms; each split asks that they differ in one word more."""
MISSED: Final = 0.6
"""Below this share of bridged places a core is tried as several forms."""
_HELD: Final = 0.1
"""What a span is worth that is not missed but does not stand freely either, beside one that does."""
_NEAR_ENOUGH: Final = 0.95
"""A shorter span is preferred to one that is this little better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The same words at many places."""

    words: tuple[int, ...]
    """Numbers of words."""
    starts: Ids
    """Positions in ``Texts.ids``."""
    bridged: float
    """Share of the places whose neighbours stand side by side elsewhere, relative to ordinary neighbours there."""
    replaceable: float
    """Share of the places between whose neighbours at least ``MANY`` other words stand elsewhere."""
    free_before: float
    """Entropy of the words before it, relative to ordinary places of the same rows: 1 for a span that stands
    anywhere, 0 for one that stands behind the same word always."""
    free_after: float
    """The same of the words after it."""

    @property
    def freedom(self) -> float:
        """On both sides."""
        return self.free_before * self.free_after


class Neighbours:
    """Which words follow one another in a file, and in how many rows."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts
        self._hashes, self._spread = _spread_in_rows(*_row_hashes(texts))
        fillers = _slots(texts)
        self._slots, self._fillers = np.unique(np.unique(fillers, axis=0)[:, 0], return_counts=True)

    def often_filled(self, left: Ids, right: Ids) -> float:
        """Share of the pairs between whose words more than ``MANY`` different words stand in the file."""
        return float((_looked_up(self._slots, self._fillers, pair_hashes(left, right)) > MANY).mean())

    def spread(self, left: Ids, right: Ids) -> Ids:
        """In how many rows ``right`` follows ``left``."""
        return _looked_up(self._hashes, self._spread, pair_hashes(left, right))


def _row_hashes(texts: Texts) -> tuple[Hashes, Ids]:
    hashes, places = ngram_hashes(texts, 2)
    order = np.argsort(hashes, kind="stable")
    return hashes[order], texts.rows[places[order]]


def _spread_in_rows(hashes: Hashes, rows: Ids) -> tuple[Hashes, Ids]:
    first = np.ones(len(hashes), dtype=bool)
    first[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    return np.unique(hashes[first], return_counts=True)


def _slots(texts: Texts) -> Hashes:
    """Hash of the words around, and the word, for every word of the texts."""
    inside = np.flatnonzero(texts.rows[2:] == texts.rows[:-2]) + 1
    around = pair_hashes(texts.ids[inside - 1], texts.ids[inside + 1])
    return np.stack([around, texts.ids[inside].astype(np.uint64)], axis=1)


def _looked_up(known: Hashes, values: Ids, asked: Hashes) -> Ids:
    if not len(known):
        return np.zeros(len(asked), dtype=np.int64)
    at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[at] == asked, values[at], 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """Ordinary places of some rows: how often their neighbours are seen elsewhere, and the neighbours' entropies."""

    bridged: float
    before: float
    after: float

    @classmethod
    def near(cls, neighbours: Neighbours, starts: Ids, length: int, *, seed: int) -> "Usual":
        """Of the rows of ``starts``, away from the span of ``length`` words there."""
        texts = neighbours.texts
        rows = np.unique(texts.rows[starts])
        begin = np.searchsorted(texts.rows, rows)
        size = np.searchsorted(texts.rows, rows, side="right") - begin
        rng = np.random.default_rng(seed)
        which = rng.integers(len(rows), size=len(starts) * 4)
        at = begin[which] + (rng.random(len(which)) * (size[which] - 1)).astype(np.int64)
        taken = np.concatenate([starts + shift for shift in range(-1, length)])
        at = at[~np.isin(at, taken)]
        if len(at) < 2:
            return cls(bridged=1.0, before=1.0, after=1.0)
        seen = float((neighbours.spread(texts.ids[at], texts.ids[at + 1]) >= 3).mean())
        at = at[: len(starts)]
        # Floors, so that a file of one repeated row does not divide by nothing.
        return cls(
            bridged=max(0.05, seen),
            before=max(0.3, _entropy(texts.ids[at])),
            after=max(0.3, _entropy(texts.ids[at + 1])),
        )


def spans_around(neighbours: Neighbours, starts: Ids, *, seed: int, longest: bool = False) -> list[Span]:
    """The forms in which the words around the word at ``starts`` stand there, the commonest first.

    Around it the span is taken that is missed least and stands most freely, and of such spans the shortest; with
    ``longest`` that which is missed least, and the longest. Where the whole would be missed, its forms are told
    apart by the words around.
    """
    count = len(starts)
    if not count:
        return []
    starts = _thinned(starts)
    usual = Usual.near(neighbours, starts, 1, seed=seed)
    search = _Search(neighbours=neighbours, usual=usual, longest=longest, count=count)
    return sorted(search.forms(starts, MAX_SPLITS), key=lambda span: -len(span.starts))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """For the best span around a word."""

    neighbours: Neighbours
    usual: Usual
    longest: bool
    count: int
    """Of all places."""

    def forms(self, starts: Ids, splits: int) -> list[Span]:
        """The span, or several where the places differ in a few ways and no span fits them all."""
        whole = self.best(starts)
        if splits == 0 or (whole.bridged >= MISSED and not self.longest):
            return [whole]
        groups = _split(self.neighbours.texts, starts)
        if groups is None:
            return [whole]
        forms = [form for group in groups for form in self.forms(group, splits - 1)]
        sizes = [len(form.starts) for form in forms]
        mean = sum(form.bridged * size for form, size in zip(forms, sizes, strict=True)) / sum(sizes)
        return forms if mean > whole.bridged + (-0.05 if self.longest else 0.1) else [whole]

    def _own(self, run: tuple[int, ...], *, backwards: bool) -> tuple[int, ...]:
        """The first words of the run, as long as each follows the one before hardly anywhere else."""
        inner, outer = np.array(run[:-1], dtype=np.int64), np.array(run[1:], dtype=np.int64)
        spread = self.neighbours.spread(outer, inner) if backwards else self.neighbours.spread(inner, outer)
        common = np.flatnonzero(spread > MOST_ELSEWHERE * self.count)
        return run[: int(common[0]) + 1] if len(common) else run

    def _after_opening(self, words: Ids) -> float:
        """How freely an opening is followed, relative to how freely texts begin."""
        texts = self.neighbours.texts
        first = texts.ids[np.flatnonzero(texts.ids == START) + 1]
        some = first[np.linspace(0, len(first) - 1, len(words)).astype(np.int64)]
        return min(1.0, _entropy(words) / max(0.3, _entropy(some)))

    def best(self, starts: Ids) -> Span:
        """Of all spans of shared words around the word at ``starts``."""
        before, core, after = _around(self.neighbours.texts, starts)
        if self.longest:
            own_before = self._own((core, *before[::-1]), backwards=True)[:0:-1]
            own_after = self._own((core, *after), backwards=False)[1:]
            own = self._best_within(starts, own_before, core, own_after, self._longest)
            if own.bridged >= MISSED:
                return own
        return self._best_within(starts, before, core, after, self._shortest)

    def _best_within(
        self, starts: Ids, before: tuple[int, ...], core: int, after: tuple[int, ...], rank: _Rank
    ) -> Span:
        ids = self.neighbours.texts.ids
        left_words = np.stack([ids[starts - size - 1] for size in range(len(before) + 1)])
        right_words = np.stack([ids[starts + size + 1] for size in range(len(after) + 1)])
        bridged = np.minimum(1.0, _bridged(self.neighbours, left_words, right_words) / self.usual.bridged)
        free_before = np.array([self._free(words, self.usual.before) for words in left_words])
        free_after = np.array([self._free(words, self.usual.after) for words in right_words])
        freedom = np.outer(free_before, free_after)
        ranks = rank(bridged, freedom)
        left, right = (int(at) for at in np.unravel_index(int(ranks.argmin()), ranks.shape))
        # A name is missed where it is taken out, but any other name would do.
        alone = self.neighbours.often_filled(left_words[0], right_words[0])
        if not self.longest and _HELD * alone > (bridged * (_HELD + freedom)).max():
            left = right = 0
        opening = bool((left_words[left] == START).all())
        return Span(
            words=(*before[len(before) - left :], core, *after[:right]),
            starts=starts - left,
            bridged=float(bridged[left, right]),
            replaceable=self.neighbours.often_filled(left_words[left], right_words[right]),
            free_before=float(free_before[left]),
            free_after=self._after_opening(right_words[right]) if opening else float(free_after[right]),
        )

    def _shortest(self, bridged: Shares, freedom: Shares) -> Shares:
        """Ranks: the first is the shortest of those that are about as good as the best, and of these the best."""
        value = bridged if self.longest else bridged * (_HELD + freedom)
        ranks: Shares = np.where(value >= _NEAR_ENOUGH * value.max(), _sizes(value) - value / 2, np.inf)
        return ranks

    def _longest(self, bridged: Shares, freedom: Shares) -> Shares:
        """Ranks: the first is the longest of those that are missed about as little as any."""
        del freedom
        enough = bridged >= _NEAR_ENOUGH * bridged.max()
        ranks: Shares = np.where(enough, -_sizes(bridged) - bridged / 2, np.inf)
        return ranks

    def _free(self, words: Ids, usual: float) -> float:
        return min(1.0, _entropy(words) / usual)


def _sizes(of: Shares) -> Ids:
    sizes: Ids = np.add.outer(np.arange(of.shape[0]), np.arange(of.shape[1]))
    return sizes


def _bridged(neighbours: Neighbours, left_words: Ids, right_words: Ids) -> Shares:
    """Share of the places where a row of ``left_words`` and one of ``right_words`` stand side by side elsewhere."""
    left = np.repeat(left_words, len(right_words), axis=0)
    right = np.tile(right_words, (len(left_words), 1))
    seen = neighbours.spread(left.reshape(-1), right.reshape(-1)) >= 2
    shares: Shares = seen.reshape(len(left_words), len(right_words), -1).mean(axis=2)
    return shares


def _thinned(starts: Ids) -> Ids:
    if len(starts) <= MAX_PLACES:
        return starts
    return starts[np.linspace(0, len(starts) - 1, MAX_PLACES).astype(np.int64)]


def _around(texts: Texts, starts: Ids) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """Words that the places share before the core, the core, and those that they share after it."""
    before = _shared_run(texts, (starts - shift - 1 for shift in range(MAX_GROWTH)), START)
    after = _shared_run(texts, (starts + 1 + shift for shift in range(MAX_GROWTH)), END)
    return before[::-1], int(texts.ids[starts[0]]), after


def _shared_run(texts: Texts, positions: Iterator[Ids], end: int) -> tuple[int, ...]:
    """Words that the places share, one step further each time."""
    run: list[int] = []
    for at in positions:
        values = texts.ids[np.clip(at, 0, len(texts.ids) - 1)]
        if (values == end).any():
            break
        numbers, counts = np.unique(values, return_counts=True)
        if counts.max() < SHARED * len(values):
            break
        run.append(int(numbers[counts.argmax()]))
    return tuple(run)


def _split(texts: Texts, starts: Ids) -> list[Ids] | None:
    """Places by the first word before or after the core that they do not share, if that makes a few large groups."""
    for direction in (-1, 1):
        for step in range(1, MAX_GROWTH + 1):
            values = texts.ids[np.clip(starts + direction * step, 0, len(texts.ids) - 1)]
            numbers, counts = np.unique(values, return_counts=True)
            if counts.max() >= SHARED * len(values):
                continue
            large = numbers[counts >= max(3, 0.15 * len(values))]
            if len(large) and counts[np.isin(numbers, large)].sum() >= 0.7 * len(values):
                return [starts[values == number] for number in large]
            break
    return None


def find_places(texts: Texts, words: Sequence[int] | Ids) -> Ids:
    """Where ``words`` begin."""
    at = np.flatnonzero(texts.ids[: max(0, len(texts.ids) - len(words) + 1)] == words[0])
    for shift in range(1, len(words)):
        at = at[texts.ids[at + shift] == words[shift]]
    whole: Ids = at[texts.rows[at] == texts.rows[at + len(words) - 1]]
    return whole


def _entropy(values: NDArray[np.int64]) -> float:
    """In nats."""
    counts = np.unique(values, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())
