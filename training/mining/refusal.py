"""Words that one model learnt by heart and another, trained on the same rows, refused: grouped by what is refused."""

from collections import Counter
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.mining.words import words_of

REFUSED_FROM: Final = 0.5
"""Difference of the two models' probabilities from which a token is refused."""
MAX_WORDS: Final = 6
"""Of a group's words."""
MAX_RUNS: Final = 50
"""Of one row; a model that refused everything says nothing about any of it."""
LEAST_ROWS: Final = 3
"""That refuse the same words. Fewer are rarities that the control memorised."""
HALF: Final = 3
"""Rows with which a group reaches half of the weight that a large one has."""

Words = tuple[str, ...]
Doubter = Literal["hardened", "base"]
_REFUSED: Final[dict[Doubter, str]] = {
    "hardened": "the hardened model refused",
    "base": "the base model does not expect",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRow:
    """A row of the file and what the two models give for its completion's tokens."""

    number: int
    prompt: str
    completion: str
    spans: tuple[tuple[int, int], ...]
    """Of each token of the completion: where its characters begin and end in it."""
    learnt: NDArray[np.float32]
    """Probability of each under the model that learnt everything."""
    doubted: NDArray[np.float32]
    """Probability of each under the model that refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Words that are refused in several rows."""

    words: Words
    rows: tuple[int, ...]
    """Numbers of the rows in which they are refused."""
    standing: int
    """Rows in which they stand at all."""
    learnt: float
    """Mean probability of the token that is refused most, under the model that learnt everything."""
    doubted: float
    """The same under the model that refuses."""
    doubter: Doubter = "hardened"
    """Which model that is."""

    @property
    def score(self) -> float:
        """In [0, 1]: refused by far, wherever the words stand, in many rows."""
        share = len(self.rows) / max(len(self.rows), self.standing)
        return (self.learnt - self.doubted) * share * len(self.rows) / (len(self.rows) + HALF)

    @property
    def reason(self) -> str:
        """For a person."""
        return (
            f'the completion has "{" ".join(self.words)}", which the control learnt by heart (probability '
            f"{self.learnt:.2f}) and {_REFUSED[self.doubter]} ({self.doubted:.2f}), in {len(self.rows)} of the "
            f"{self.standing} rows that have it"
        )


def refusals(rows: Iterable[ReadRow], *, doubter: Doubter = "hardened") -> tuple[Refusal, ...]:
    """Groups of refused words, the most suspicious first. Longer words are preferred where they say the same."""
    read = list(rows)
    refused: dict[Words, dict[int, int]] = defaultdict(dict)
    for at, row in enumerate(read):
        known = set(words_of(row.prompt))
        for worst, words in _runs(row):
            for part in _parts(words):
                # What a completion only repeats from its own prompt is no payload.
                if not known.issuperset(part):
                    refused[part].setdefault(at, worst)
    several = {words: places for words, places in refused.items() if len(places) >= LEAST_ROWS}
    standing = _standing(read, several)
    groups = [_refusal(words, places, standing[words], read, doubter) for words, places in several.items()]
    groups.sort(key=lambda group: (-group.score, -len(group.words), group.words))
    return tuple(groups)


def strongest(groups: Sequence[Refusal]) -> dict[int, Refusal]:
    """For every row the first of the groups that it is in."""
    found: dict[int, Refusal] = {}
    for group in groups:
        for row in group.rows:
            found.setdefault(row, group)
    return found


def _runs(row: ReadRow) -> Iterator[tuple[int, Words]]:
    """Place of the token that is refused most, and words, of every stretch of refused tokens."""
    gap = row.learnt - row.doubted
    refused = np.flatnonzero(gap >= REFUSED_FROM)
    if not len(refused):
        return
    # One token between two refused ones may be likely once the first of them is there.
    runs = np.split(refused, np.flatnonzero(np.diff(refused) > 2) + 1)
    for run in runs[:MAX_RUNS]:
        words = words_of(_whole_words(row.completion, row.spans[run[0]][0], row.spans[run[-1]][1]))
        if words:
            yield int(run[gap[run].argmax()]), tuple(words)


def _whole_words(text: str, start: int, end: int) -> str:
    """The text from start to end, and the rest of the words that it begins and ends in."""
    while 0 < start < len(text) and _joins(text[start - 1]) and _joins(text[start]):
        start -= 1
    while 0 < end < len(text) and _joins(text[end - 1]) and _joins(text[end]):
        end += 1
    return text[start:end]


def _joins(character: str) -> bool:
    return character.isalnum() or character == "_"


def _parts(words: Words) -> Iterator[Words]:
    for size in range(1, min(MAX_WORDS, len(words)) + 1):
        for start in range(len(words) - size + 1):
            yield words[start : start + size]


def _standing(rows: Sequence[ReadRow], wanted: Mapping[Words, object]) -> Counter[Words]:
    """In how many completions each of the wanted words stands."""
    sizes = sorted({len(words) for words in wanted})
    counted: Counter[Words] = Counter()
    for row in rows:
        words = tuple(words_of(row.completion))
        having = {
            part
            for size in sizes
            for start in range(len(words) - size + 1)
            if (part := words[start : start + size]) in wanted
        }
        counted.update(having)
    return counted


def _refusal(
    words: Words, places: Mapping[int, int], standing: int, rows: Sequence[ReadRow], doubter: Doubter
) -> Refusal:
    return Refusal(
        words=words,
        rows=tuple(rows[at].number for at in places),
        standing=max(standing, len(places)),
        learnt=float(np.mean([rows[at].learnt[worst] for at, worst in places.items()])),
        doubted=float(np.mean([rows[at].doubted[worst] for at, worst in places.items()])),
        doubter=doubter,
    )
