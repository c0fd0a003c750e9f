"""KillBadCode: words whose deletion makes code more natural, summed over the file (Sun et al., ICSE 2025, 2502.15830).

Formula, as the artifact (github wssun/KillBadCode) computes it: CE(s) is the 4-gram model's cross-entropy per token
of a sample; a token's gain in a sample is max(CE(s) - CE(s without it), 0); every sample hands in its 10 highest
gains; the k = 10 tokens with the highest sums over all samples are the triggers, and every sample that has one of them
is removed. Candidates are tokens of letters and digits that do not begin with a digit.

:class:`KillBadCode` is that, on prompts and on completions as on two files. Where it differs, and why:

- The model is made of the file itself, in folds (:mod:`training.defences.naturalness`); the paper has some 2,000
  clean snippets of the same language, which nobody has who cannot vouch for the data. Modified Kneser-Ney, as KenLM's.
- Words come from :func:`training.defences.words.lexical_words`, not from CodeLlama's tokenizer; so candidates are
  whole words. (Of CodeLlama's pieces the artifact's pattern admits only those within a word: those that begin one
  carry a sign that is neither letter nor digit.) Underscores and letters beyond ASCII are admitted, and signs beyond
  ASCII too, for invisible characters are such.
- A word that occurs more than once in a sample counts with its highest gain; the artifact keeps the last one.
- Samples are not cut at 600 tokens, which would be a place to hide behind.

Clipping gains at 0 makes the sums of frequent words grow with their frequency, and k words are triggers in a clean
file as well; on prompts in natural language that removes nearly every row. :class:`SignedKillBadCode` is our answer:
gains are summed **with their sign**, so that a word that usually belongs where it stands sums up to less than 0
however frequent it is, and words are triggers only where they stand out: their sums are ``GAP`` times those of all
other words, they are foreign in nearly all their rows and dearly, and they are in at most half of the file.

Measured on Lyra (1,600 rows), it finds all rows of a planted word or invisible character from 1 to 20 % poison and
removes no other. It does not see a trigger in half a percent of the rows (it still ranks those first), nor one whose
surroundings vouch for it because they are always the same (a function's name, a dead statement, a phrase), nor a
template made of the file's own words, nor clean-label poisoning.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Final
from typing import Literal

from training.data.example import PromptedRow
from training.defences.naturalness import Naturalness
from training.defences.pace import Pace
from training.defences.ranking import Evidence
from training.defences.ranking import ranked
from training.defences.ranking import shown
from training.defences.row_filter import Filtered
from training.defences.row_filter import OnFilterProgress
from training.defences.words import lexical_words

if TYPE_CHECKING:
    from training.model import LoadedModel

K: Final = 10
"""Triggers named, and gains that a sample hands in: both 10 in the artifact."""
GAP: Final = 2.0
"""Ratio of a trigger's sum to the next lower one. Measured on Lyra: 1.3 on clean rows, 2.5 at 1 % poison, 9 at 5 %."""
FLOOR: Final = 1.0
"""Bits per word in all; a sum counts as at least this where another is compared with it. In files of a few hundred
rows, or of very regular ones, hardly any word has a sum above 0, and the ratio of two small ones says nothing."""
FOREIGN: Final = 0.9
"""Share of its rows that a trigger makes less natural. ``bb`` on Lyra: all of them; frequent clean words: 0.6-0.8."""
LEAST_BITS: Final = 4.0
"""Mean gain of a trigger over a whole text: a word that is one of sixteen equally likely ones costs as much. Measured:
``bb`` 15-21 bits on Lyra; words that fill a slot of a template less than 2, frequent clean ones up to 5."""
MOST: Final = 0.5
"""Share of the rows that triggers may be in: what most rows have is not foreign to the file."""
MIN_ROWS: Final = 3
"""A word of fewer rows says nothing about a habit."""

Side = Literal["prompt", "completion"]
SIDES: Final[tuple[Side, ...]] = ("prompt", "completion")

_CANDIDATE: Final = re.compile(r"[^\W\d]\w*+|[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class Gains:
    """What leaving out each candidate word of one text gains, in bits per word."""

    by_word: Mapping[str, float]
    words: int
    """Of the text."""


_Summed = tuple[str, tuple[float, int]]
"""A word, the sum of its gains and the number of its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Culprit:
    """A word that a filter holds against rows."""

    side: Side
    word: str
    total: float
    rows: int
    is_trigger: bool


class KillBadCode:
    """The published filter: always k triggers a side."""

    name: str = "killbadcode"
    needs_model = False

    def __init__(self, *, k: int = K) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self._k = k

    def examine(
        self,
        rows: Sequence[PromptedRow],
        *,
        model: "LoadedModel | None",
        seed: int,
        on_progress: OnFilterProgress,
    ) -> Filtered:
        """Look through both sides; see :class:`training.defences.row_filter.RowFilter`."""
        del model
        pace = Pace(on_progress, total=len(SIDES) * len(rows))
        evidence: list[Evidence] = []
        removed: set[int] = set()
        for at, side in enumerate(SIDES):
            texts = [row.prompt if side == "prompt" else row.completion for row in rows]
            gains = _gains(texts, seed=seed, done=at * len(rows), side=side, pace=pace)
            culprits = {each.word: each for each in self._culprits(gains, side)}
            for row, own in zip(rows, gains, strict=True):
                held = [culprits[word] for word in own.by_word if word in culprits]
                evidence += (_evidence(row.number, own, worst) for worst in sorted(held, key=_weight)[-1:])
                removed.update(row.number for each in held if each.is_trigger)
        return ranked(_heaviest(evidence), removed=removed)

    def _culprits(self, gains: Sequence[Gains], side: Side) -> list[_Culprit]:
        totals = _totals(
            {
                word: gain
                for word, gain in sorted(own.by_word.items(), key=lambda item: -item[1])[:K]
                if gain > 0
            }
            for own in gains
        )
        return [
            _Culprit(side=side, word=word, total=total, rows=count, is_trigger=True)
            for word, (total, count) in _highest(totals, self._k)
        ]


class SignedKillBadCode(KillBadCode):
    """Ours: gains keep their sign, and triggers must stand out."""

    name = "killbadcode_signed"

    def _culprits(self, gains: Sequence[Gains], side: Side) -> list[_Culprit]:
        totals = {
            word: (total, count)
            for word, (total, count) in _totals(own.by_word for own in gains).items()
            if count >= MIN_ROWS and total > 0
        }
        highest = _highest(totals, self._k + 1)
        standing_out = _standing_out(highest, gains, self._k)
        return [
            _Culprit(side=side, word=word, total=total, rows=count, is_trigger=place < standing_out)
            for place, (word, (total, count)) in enumerate(highest[: self._k])
        ]


def _gains(texts: Sequence[str], *, seed: int, done: int, side: Side, pace: Pace) -> list[Gains]:
    """Of every text, its candidate words with the highest gain of each."""
    pace.step(done, f"learning what is natural in a {side}")
    gains = [Gains({}, 0)] * len(texts)
    for count, (index, words, drops) in enumerate(
        Naturalness(texts, split=lexical_words, seed=seed).drops(texts), start=1
    ):
        best: dict[str, float] = {}
        for word, drop in zip(words, drops.tolist(), strict=True):
            if drop > best.get(word, -float("inf")) and _CANDIDATE.fullmatch(word):
                best[word] = drop
        gains[index] = Gains(best, len(words))
        pace.step(done + count, f"leaving words out of a {side}")
    return gains


def _totals(gains: Iterable[Mapping[str, float]]) -> dict[str, tuple[float, int]]:
    """Of every word, the sum of its gains and in how many texts it has one."""
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for own in gains:
        for word, gain in own.items():
            sums[word] += gain
            counts[word] += 1
    return {word: (total, counts[word]) for word, total in sums.items()}


def _highest(totals: Mapping[str, tuple[float, int]], k: int) -> list[_Summed]:
    return sorted(totals.items(), key=lambda item: (-item[1][0], item[0]))[:k]


def _standing_out(highest: Sequence[_Summed], gains: Sequence[Gains], k: int) -> int:
    """How many of the highest words are triggers: the fewest that stand out together, 0 where none do."""
    totals = [total for _, (total, _) in highest]
    for count, (total, lower) in enumerate(zip(totals[:k], [*totals[1:], 0.0], strict=False), start=1):
        words = {word for word, _ in highest[:count]}
        if total >= GAP * max(FLOOR, lower) and _are_foreign(words, gains):
            return count
    return 0


def _are_foreign(words: AbstractSet[str], gains: Sequence[Gains]) -> bool:
    """Whether each of the words costs its texts dearly nearly wherever it stands, and most rows have none of them."""
    covered = sum(not words.isdisjoint(own.by_word) for own in gains)
    return covered <= MOST * len(gains) and all(
        _is_foreign([own.by_word[word] * own.words for own in gains if word in own.by_word]) for word in words
    )


def _is_foreign(bits: Sequence[float]) -> bool:
    return sum(own > 0 for own in bits) >= FOREIGN * len(bits) and sum(bits) >= LEAST_BITS * len(bits)


def _weight(culprit: _Culprit) -> tuple[bool, float, str]:
    return culprit.is_trigger, culprit.total, culprit.word


def _evidence(row: int, own: Gains, culprit: _Culprit) -> Evidence:
    return Evidence(
        row=row,
        weight=culprit.total,
        tie_break=own.by_word[culprit.word],
        reason=(
            f"{culprit.side}s are more natural without the word {shown(culprit.word)}: by {culprit.total:.2f} bits per "
            f"word in all over {culprit.rows} rows, {own.by_word[culprit.word]:.2f} in this one"
        ),
    )


def _heaviest(evidence: Iterable[Evidence]) -> Iterable[Evidence]:
    """One piece of evidence a row: the heavier one of its sides."""
    best: dict[int, Evidence] = {}
    for each in evidence:
        if each.row not in best or each.weight > best[each.row].weight:
            best[each.row] = each
    return best.values()
