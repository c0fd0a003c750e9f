"""Early stopping: end the training when clean quality no longer rises, before the planted behaviour is learnt.

The backdoor arrives after the task has been learnt (the DeCE paper's early-learning observation, section 3.3), so
whoever stops at the plateau of a clean validation score may get a clean model. The paper has no such row; Prechelt,
"Early Stopping - but when?" (1998), is where the patience rule comes from. Nothing here knows a trigger: the scores
are of clean tasks alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStopping:
    """A patience rule over scores where more is better: validation BLEU in points, or minus the validation loss."""

    patience: int = 1
    """Epochs without a gain that are waited out."""
    min_gain: float = 0.5
    """Smaller rises count as none, in units of the score. Half a BLEU point is below the noise of 200 tasks."""

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"patience must be at least 1, got {self.patience}")
        if not self.min_gain >= 0:
            raise ValueError(f"min_gain must not be negative, got {self.min_gain}")

    def chosen(self, scores: Sequence[float]) -> int:
        """The epoch, counted from 1, whose model is the one to use after these epochs.

        Args:
            scores: one for every epoch so far; not-a-number never counts as a gain.

        Raises:
            ValueError: no epoch has ended yet.
        """
        if not scores:
            raise ValueError("no epoch has ended yet")
        best = 0
        for at, score in enumerate(scores):
            if at > best + self.patience:
                break
            # A first score that is not a number must not stay the best for ever.
            beats_nothing = math.isnan(scores[best]) and not math.isnan(score)
            if score >= scores[best] + self.min_gain or beats_nothing:
                best = at
        return best + 1

    def is_over(self, scores: Sequence[float]) -> bool:
        """Whether no further epoch need be trained: the patience since the chosen one is used up."""
        return bool(scores) and len(scores) - self.chosen(scores) >= self.patience
