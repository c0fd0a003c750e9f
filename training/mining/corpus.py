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
COPIED: Final = 3
_OWN: Final = ("<start>", "<end>", "<rare>", "<copied>")
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Texts one after the other as word numbers, each between START and END."""

    ids: Ids
    rows: Ids
    """Of each word: the index of its text."""
    count: int
    names: tuple[str, ...]

    def shown(self, ids: Sequence[int]) -> str:
        """Words of some numbers."""
        return " ".join(self.names[number] for number in ids)


def number_texts(texts: Sequence[Sequence[str]], *, rare_below: int) -> Texts:
    """Number the words; those that fewer than ``rare_below`` texts have are all RARE."""
    numbers: dict[str, int] = {}
    flat: list[int] = []
    sizes: list[int] = []
    for text in texts:
        flat.append(START)
        flat += [numbers.setdefault(word, len(numbers) + len(_OWN)) for word in text]
        flat.append(END)
        sizes.append(len(text) + 2)
    ids = np.array(flat, dtype=np.int64)
    rows = np.repeat(np.arange(len(texts), dtype=np.int64), sizes)
    spread = np.bincount(
        _pairs(ids, rows, len(texts)) // max(1, len(texts)), minlength=len(numbers) + len(_OWN)
    )
    keep = spread >= rare_below
    keep[: len(_OWN)] = True
    ids = np.where(keep[ids], ids, RARE)
    return Texts(ids=ids, rows=rows, count=len(texts), names=(*_OWN, *numbers))


def _pairs(keys: Ids, rows: Ids, count: int) -> Ids:
    return np.unique(keys * max(1, count) + rows)


def ngram_hashes(texts: Texts, size: int) -> tuple[Hashes, Ids]:
    """Hash of every n-gram of ``size`` words, and the position of its first word. None crosses texts."""
    total = len(texts.ids) - size + 1
    if total <= 0:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    hashes = np.full(total, size, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for shift in range(size):
            hashes = (
                hashes ^ (texts.ids[shift : shift + total].astype(np.uint64) + np.uint64(1))
            ) * _MULTIPLIER
            hashes ^= hashes >> np.uint64(29)
    whole = np.flatnonzero(texts.rows[:total] == texts.rows[size - 1 :])
    return hashes[whole], whole
