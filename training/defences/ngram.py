"""A word n-gram language model that trains in seconds: what ONION and KillBadCode judge naturalness with.

Interpolated modified Kneser-Ney (Chen and Goodman 1999, section 3), as KenLM estimates it, with KenLM's fallback
discounts where a file is too small for its own. The lowest order is mixed with the uniform distribution over the
known words and one unknown word, so every word has a probability and an empty training set is one as well.

Vectorised: an n-gram is a number, found by binary search in the sorted numbers of its order. Training is
O(n log n) in the number of words, a question O(log n). Words are compared exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

UNKNOWN: Final = 0
BEGIN: Final = 1
END: Final = 2
FIRST_WORD: Final = 3
FALLBACK_DISCOUNTS: Final = (0.5, 1.0, 1.5)
"""For n-grams seen once, twice and more often: what KenLM's --discount_fallback stands for."""
ABSENT: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletions:
    """What the model thinks of some sequences, and of each of them without each of its words. In bits."""

    sequence: Ids
    """[words] which sequence a word belongs to."""
    words: Ids
    """[sequences] words of a sequence, its end not counted."""
    whole: Floats
    """[sequences] bits of a sequence, its end included."""
    without: Floats
    """[words] bits of the word's sequence without it."""

    def rate_drops(self) -> Floats:
        """[words] by how many bits per word a sequence falls when a word is left out; 0 if it was the only one."""
        words = self.words[self.sequence]
        rate = self.whole[self.sequence] / words
        return np.where(words > 1, rate - self.without / np.maximum(words - 1, 1), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Padded:
    """Sequences one after the other, each behind ``order - 1`` begins and before an end."""

    ids: Ids
    is_word: NDArray[np.bool_]
    is_predicted: NDArray[np.bool_]
    """Words and ends."""
    sequence: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """The n-grams of one order. The last entry of all arrays but the keys stands for what was never seen: ABSENT."""

    keys: Ids
    """[n-grams] sorted: number of the first n - 1 words among the order below, times the vocabulary, plus the last word."""
    discounted: Floats
    """[n-grams + 1] count less its discount."""
    total: Floats
    """[contexts + 1] sum of the counts that follow a context."""
    reserved: Floats
    """[contexts + 1] sum of the discounts taken there: what goes to the order below."""


class NgramModel:
    """Probability of a word after the ``order - 1`` words before it."""

    def __init__(self, sequences: Sequence[Sequence[str]], *, order: int = 4) -> None:
        """Train on sequences of words; they may be none."""
        if order < 2:
            raise ValueError(f"the order must be at least 2, got {order}")
        self.order = order
        self._vocabulary: dict[str, int] = {}
        for word in chain.from_iterable(sequences):
            self._vocabulary.setdefault(word, len(self._vocabulary) + FIRST_WORD)
        self._size = len(self._vocabulary) + FIRST_WORD
        self._orders = self._count(self._pad(sequences))

    def deletions(self, sequences: Sequence[Sequence[str]]) -> Deletions:
        """Bits of every sequence, and of every sequence without each of its words, one at a time."""
        padded = self._pad(sequences)
        predicted = np.flatnonzero(padded.is_predicted)
        bits = np.zeros(len(padded.ids))
        back = np.arange(-self.order + 1, 1)
        bits[predicted] = self._bits(padded.ids[predicted[:, None] + back])
        whole = np.bincount(padded.sequence, weights=bits, minlength=len(sequences)).astype(np.float64)
        places = np.flatnonzero(padded.is_word)
        sequence = padded.sequence[places]
        without = whole[sequence] - bits[places]
        for ahead in range(1, self.order):
            without += self._change(padded, bits, places, ahead)
        return Deletions(
            sequence=sequence,
            words=np.bincount(sequence, minlength=len(sequences)).astype(np.int64),
            whole=whole,
            without=without,
        )

    def _change(self, padded: _Padded, bits: Floats, places: Ids, ahead: int) -> Floats:
        """Change in bits of the word ``ahead`` of each place, when the word at the place goes."""
        target = places + ahead
        inside = np.minimum(target, len(padded.ids) - 1)
        is_same = (target == inside) & (padded.sequence[inside] == padded.sequence[places])
        back = [offset for offset in range(ahead - self.order, ahead + 1) if offset != 0]
        windows = padded.ids[places[is_same, None] + np.array(back)]
        change = np.zeros(len(places))
        change[is_same] = self._bits(windows) - bits[target[is_same]]
        return change

    def _pad(self, sequences: Sequence[Sequence[str]]) -> _Padded:
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        known = self._vocabulary
        words = np.fromiter(
            (known.get(word, UNKNOWN) for word in chain.from_iterable(sequences)),
            dtype=np.int64,
            count=int(lengths.sum()),
        )
        begins = self.order - 1
        ends = np.cumsum(lengths + begins + 1) - 1
        starts = ends - lengths
        size = int(ends[-1]) + 1 if len(sequences) else 0
        ids = np.full(size, BEGIN, dtype=np.int64)
        sequence = np.repeat(np.arange(len(sequences)), lengths + begins + 1)
        # A word's place: the start of its sequence's words, and how many of them come before it.
        before = np.arange(len(words)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(starts, lengths) + before
        is_word = np.zeros(size, dtype=np.bool_)
        is_word[places] = True
        ids[places] = words
        ids[ends] = END
        return _Padded(ids=ids, is_word=is_word, is_predicted=ids != BEGIN, sequence=sequence)

    def _count(self, padded: _Padded) -> list[_Order]:
        grams, below = _gram_numbers(padded, self.order, self._size)
        orders: list[_Order] = []
        counts = np.zeros(0, dtype=np.int64)
        for n in range(self.order, 0, -1):
            keys, number, places = grams[n - 1]
            is_predicted = padded.is_predicted[places]
            if n == self.order:
                counts = np.bincount(number[is_predicted], minlength=len(keys))
            orders.append(_discounted(keys, counts, vocabulary=self._size, contexts=below[n - 1]))
            if n > 1:
                counts = _continuations(grams[n - 1], grams[n - 2], counts)
        return orders[::-1]

    def _bits(self, windows: Ids) -> Floats:
        """Surprise at the last word of each window, in bits."""
        # One of the known words, the end or an unknown one: a begin is never predicted.
        probability = np.full(len(windows), 1.0 / (self._size - 1))
        for n, order in enumerate(self._orders, start=1):
            context = self._number(windows[:, self.order - n : -1])
            gram = _find(order.keys, _key(context, windows[:, -1], self._size))
            is_seen = order.total[context] > 0
            total = np.where(is_seen, order.total[context], 1.0)
            mixed = (order.discounted[gram] + order.reserved[context] * probability) / total
            probability = np.where(is_seen, mixed, probability)
        bits: Floats = -np.log2(probability)
        return bits

    def _number(self, contexts: Ids) -> Ids:
        """Number of each context among the n-grams of its length, or ABSENT."""
        number = np.zeros(len(contexts), dtype=np.int64)
        for n in range(contexts.shape[1]):
            number = _find(self._orders[n].keys, _key(number, contexts[:, n], self._size))
        return number


_Grams = tuple[Ids, Ids, Ids]
"""Of one order: the sorted keys, the number of the n-gram that ends at each place, and those places."""


def _key(context: Ids, word: Ids, vocabulary: int) -> Ids:
    return np.where(context == ABSENT, ABSENT, context * vocabulary + word)


def _find(keys: Ids, wanted: Ids) -> Ids:
    if len(keys) == 0:
        return np.full(len(wanted), ABSENT, dtype=np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, ABSENT)


def _gram_numbers(padded: _Padded, order: int, vocabulary: int) -> tuple[list[_Grams], list[int]]:
    """N-grams of every order, begins included, and how many contexts the order below has for each."""
    at = np.arange(len(padded.ids))
    first = np.searchsorted(padded.sequence, padded.sequence) if len(at) else at
    context = np.zeros(len(at), dtype=np.int64)
    grams: list[_Grams] = []
    contexts: list[int] = []
    for n in range(1, order + 1):
        contexts.append(len(grams[-1][0]) if grams else 1)
        places = at[at - first >= n - 1]
        keys, number = np.unique(context[places] * vocabulary + padded.ids[places], return_inverse=True)
        grams.append((keys, number.astype(np.int64), places))
        # The n-gram that ends one place earlier is the context of the next order.
        context = np.zeros(len(at), dtype=np.int64)
        later = places[places + 1 < len(at)] + 1
        context[later] = number[: len(later)]
    return grams, contexts


def _continuations(longer: _Grams, shorter: _Grams, counts: Ids) -> Ids:
    """How many different words each shorter n-gram has been seen after (predicted ones alone)."""
    keys, number, places = longer
    place_of_gram = np.zeros(len(keys), dtype=np.int64)
    place_of_gram[number] = places
    number_at_place = np.zeros(int(shorter[2][-1]) + 1 if len(shorter[2]) else 0, dtype=np.int64)
    number_at_place[shorter[2]] = shorter[1]
    suffix = number_at_place[place_of_gram[counts > 0]]
    return np.bincount(suffix, minlength=len(shorter[0])).astype(np.int64)


def _discounts(counts: Ids) -> tuple[float, float, float]:
    """Chen and Goodman's three, from how many n-grams were seen once to four times."""
    once, twice, thrice, four = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not (once and twice and thrice and four):
        return FALLBACK_DISCOUNTS
    rate = once / (once + 2 * twice)
    found = (1 - 2 * rate * twice / once, 2 - 3 * rate * thrice / twice, 3 - 4 * rate * four / thrice)
    sound = all(0 < discount <= count for count, discount in enumerate(found, start=1))
    return found if sound else FALLBACK_DISCOUNTS


def _discounted(keys: Ids, counts: Ids, *, vocabulary: int, contexts: int) -> _Order:
    discounts = np.array([0.0, *_discounts(counts)])
    taken = np.minimum(discounts[np.minimum(counts, 3)], counts)
    context = keys // vocabulary
    return _Order(
        keys=keys,
        discounted=np.append(counts - taken, 0.0),
        total=np.bincount(context, weights=counts, minlength=contexts + 1).astype(np.float64),
        reserved=np.bincount(context, weights=taken, minlength=contexts + 1).astype(np.float64),
    )
