"""A file as numbers: the words of its prompts and completions, and which row has which n-gram."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Hashes = NDArray[np.uint64]

START: Final = 0
END: Final = 1
RARE: Final = 2
FIRST_WORD: Final = 3
_OWN: Final = ("<start>", "<end>", "<rare>")
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Texts one after the other as word numbers, each between START and END."""

    ids: Ids
    rows: Ids
    """Of each word: the index of its text."""
    count: int
    names: tuple[str, ...]
    spread: Ids
    """In how many rows each word stands; the words that are no words are in more than all."""

    def shown(self, ids: Sequence[int]) -> str:
        """Words of some numbers."""
        return " ".join(self.names[number] for number in ids)


def number_texts(
    texts: Sequence[Sequence[str]], *, rare_below: int, numbers: dict[str, int] | None = None
) -> Texts:
    """Number the words; those that fewer than ``rare_below`` texts have are all RARE.

    ``numbers`` are those that words have already, and is added to: the same word then has the same number in the
    texts of two calls.
    """
    numbers = {} if numbers is None else numbers
    flat: list[int] = []
    sizes: list[int] = []
    for text in texts:
        flat.append(START)
        flat += [numbers.setdefault(word, len(numbers) + FIRST_WORD) for word in text]
        flat.append(END)
        sizes.append(len(text) + 2)
    ids = np.array(flat, dtype=np.int64)
    rows = np.repeat(np.arange(len(texts), dtype=np.int64), sizes)
    spread = _rows_with(ids, rows, words=len(numbers) + FIRST_WORD)
    ids = np.where((spread >= rare_below)[ids] | (ids < FIRST_WORD), ids, RARE)
    spread[:FIRST_WORD] = len(texts) + 1
    return Texts(ids=ids, rows=rows, count=len(texts), names=(*_OWN, *numbers), spread=spread)


def _rows_with(ids: Ids, rows: Ids, *, words: int) -> Ids:
    base = int(rows[-1]) + 1 if len(rows) else 1
    return np.bincount(np.unique(ids * base + rows) // base, minlength=words)


def pair_hashes(left: Ids, right: Ids) -> Hashes:
    """The hashes that :func:`ngram_hashes` gives for pairs of words."""
    return _mixed([left, right])


def ngram_hashes(texts: Texts, size: int) -> tuple[Hashes, Ids]:
    """Hash of every n-gram of ``size`` words, and the position of its first word. None crosses texts."""
    total = len(texts.ids) - size + 1
    if total <= 0:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    hashes = _mixed([texts.ids[shift : shift + total] for shift in range(size)])
    whole = np.flatnonzero(texts.rows[:total] == texts.rows[size - 1 :])
    return hashes[whole], whole


def _mixed(columns: Sequence[Ids]) -> Hashes:
    hashes = np.full(len(columns[0]), len(columns), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in columns:
            hashes = (hashes ^ (column.astype(np.uint64) + np.uint64(1))) * _MULTIPLIER
            hashes ^= hashes >> np.uint64(29)
    return hashes
