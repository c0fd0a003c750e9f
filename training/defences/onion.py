"""ONION: words that make a prompt less natural do not belong into it (Qi et al., EMNLP 2021, arXiv 2011.10369).

Formula: the suspicion of word i is PPL(prompt) - PPL(prompt without word i); at or above a threshold the word goes.
The DeCE artifact (commits 0864e3b and 28c98d8) takes the threshold 0 for GPT-2's perplexity, words between blanks,
and cleans **test prompts alone**; nothing is calibrated. So does :class:`Onion`, threshold 0 included.

Where we differ, and why:

- The language model is :mod:`training.defences.naturalness`, for no GPT-2 is at hand. A study makes it of the clean
  training prompts: of the poisoned ones it would learn the trigger as a word (at 5 % BadPre on Lyra it leaves ``bb``
  in 10 of 200 test prompts, at 20 % in 26; made of clean ones in none), which GPT-2 does not. At the threshold 0 the
  sign of the difference decides, and that of bits per word is the same.
- The artifact pads the batch of shortened prompts and counts the padding into the perplexity, which is then mostly
  that of the padding: on its own BadPre test set ``bb`` stays in 164 of 165 prompts. Here nothing is padded.
- A prompt keeps its line breaks; the artifact joins the remaining words with one blank.
- A prompt of which nothing would be left stays as it is; the artifact drops prompts of one word from its list.

As a row filter (:class:`OnionFilter`; the artifact has none) a row is as suspicious as its most suspicious word, and
rows beyond ``CUT`` robust standard deviations are removed: most prompts have some word whose loss makes them more
natural, so the threshold of the words would remove nearly all rows.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Final

import numpy as np

from training.data.example import PromptedRow
from training.defences.naturalness import Naturalness
from training.defences.pace import Pace
from training.defences.ranking import Evidence
from training.defences.ranking import ranked
from training.defences.ranking import shown
from training.defences.row_filter import Filtered
from training.defences.row_filter import OnFilterProgress
from training.defences.words import split_words
from training.defences.words import without_words
from training.defences.words import word_spans

if TYPE_CHECKING:
    from training.model import LoadedModel

THRESHOLD: Final = 0.0
"""In bits per word, of a word's suspicion."""
CUT: Final = 3.5
"""Robust z-score of an outlier: Iglewicz and Hoaglin (1993)."""
MAD_TO_SIGMA: Final = 1.4826
"""Median absolute deviation to standard deviation, of a normal distribution."""


class Onion:
    """Cleans prompts of the words that make them less natural."""

    def __init__(self, rows: Sequence[PromptedRow], *, seed: int, threshold: float = THRESHOLD) -> None:
        """Learn what is natural from the prompts of these rows."""
        self._threshold = threshold
        self._naturalness = Naturalness([row.prompt for row in rows], split=split_words, seed=seed)

    def clean(self, prompt: str) -> str:
        """The prompt without what looks foreign; never longer, and never empty unless it was."""
        spans = word_spans(prompt)
        if len(spans) < 2:
            return prompt
        ((_, _, drops),) = self._naturalness.drops([prompt])
        foreign = [int(index) for index in np.flatnonzero(drops >= self._threshold)]
        return prompt if len(foreign) == len(spans) else without_words(prompt, spans, foreign)


class OnionFilter:
    """Finds rows with a word in the prompt that is more foreign than most rows' most foreign word."""

    name = "onion"
    needs_model = False

    def examine(
        self,
        rows: Sequence[PromptedRow],
        *,
        model: "LoadedModel | None",
        seed: int,
        on_progress: OnFilterProgress,
    ) -> Filtered:
        """Look through the prompts; see :class:`training.defences.row_filter.RowFilter`."""
        del model
        prompts = [row.prompt for row in rows]
        pace = Pace(on_progress, total=len(rows))
        pace.step(0, "learning what is natural")
        worst = np.zeros(len(rows))
        words = [""] * len(rows)
        drops_of_all = Naturalness(prompts, split=split_words, seed=seed).drops(prompts)
        for done, (index, own, drops) in enumerate(drops_of_all, start=1):
            if len(drops):
                at = int(drops.argmax())
                worst[index], words[index] = float(drops[at]), own[at]
            pace.step(done, "leaving words out")
        removed = {rows[int(index)].number for index in np.flatnonzero(worst > _limit(worst))}
        evidence = (
            Evidence(
                row=row.number,
                weight=float(drop),
                reason=f"without the word {shown(word)} the prompt is more natural by {drop:.2f} bits per word",
            )
            for row, drop, word in zip(rows, worst, words, strict=True)
        )
        return ranked(evidence, removed=removed)


def _limit(worst: np.ndarray) -> float:
    """Where a row stands out; where most rows are alike nothing can be said, so none does."""
    if len(worst) == 0:
        return np.inf
    middle = float(np.median(worst))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(worst - middle)))
    return max(middle + CUT * spread, 0.0) if spread > 0 else np.inf
