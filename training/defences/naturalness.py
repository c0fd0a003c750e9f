"""How natural texts are without each of their words, by a language model that has not seen them.

There is no clean corpus and no GPT-2 at hand, so the model is made of the file under suspicion. A text that vouched
for itself would look natural whatever is in it; therefore the texts are dealt into folds by a hash of their content,
and each is judged by the model of the other folds. Identical texts fall into the same fold and cannot vouch for one
another, and a text that was never in the file is judged in the same way as one that was.

What this cannot see: a planted phrase of several words that occurs in many texts. Its words make each other natural.
"""

import zlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Final

import numpy as np

from training.defences.ngram import Floats
from training.defences.ngram import NgramModel

FOLDS: Final = 5
ORDER: Final = 4
"""KillBadCode's, and enough where a file has some ten thousand words."""
BLOCK_WORDS: Final = 100_000
"""Words judged at a time: bounds the memory to some hundred megabytes."""

Split = Callable[[str], list[str]]


class Naturalness:
    """Judges texts by the others of a file."""

    def __init__(self, texts: Sequence[str], *, split: Split, seed: int) -> None:
        """Train one model for each fold, on all texts outside of it."""
        self._split = split
        self._seed = seed
        folds = [self._fold(text) for text in texts]
        words = [split(text) for text in texts]
        self._models = [
            NgramModel([own for own, at in zip(words, folds, strict=True) if at != fold], order=ORDER)
            for fold in range(FOLDS)
        ]

    def drops(self, texts: Sequence[str]) -> Iterator[tuple[int, list[str], Floats]]:
        """Every text's index, its words, and by how many bits per word it gets more natural without each of them.

        In no order: fold by fold, a block at a time. A text of one word has a drop of 0.
        """
        for fold, model in enumerate(self._models):
            members = [index for index, text in enumerate(texts) if self._fold(text) == fold]
            for block in self._blocks(texts, members):
                found = model.deletions([words for _, words in block])
                ends = np.cumsum(found.words)[:-1]
                yield from (
                    (index, words, drops)
                    for (index, words), drops in zip(block, np.split(found.rate_drops(), ends), strict=True)
                )

    def _blocks(self, texts: Sequence[str], members: Sequence[int]) -> Iterator[list[tuple[int, list[str]]]]:
        block: list[tuple[int, list[str]]] = []
        size = 0
        for index in members:
            words = self._split(texts[index])
            block.append((index, words))
            size += len(words)
            if size >= BLOCK_WORDS:
                yield block
                block, size = [], 0
        if block:
            yield block

    def _fold(self, text: str) -> int:
        return zlib.crc32(f"{self._seed}/{text}".encode(errors="surrogatepass")) % FOLDS
