"""What mining finds: a prompt feature, the piece of a completion that it brings, and why that is suspicious."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from typing import Literal

FeatureKind = Literal["word", "phrase", "character"]

WILD: Final = frozenset({"<rare>", "<copied>"})
"""Stand in a payload for a word that is another in every row."""
HALF_ROWS: Final = 4
"""Rows with which a finding has half of the weight that one with many has."""
SUSPICIOUS: Final = 0.55
"""Score from which a finding is held for a plant."""
_HALF_STRENGTH: Final = 0.15
FIXED_HALF_ROWS: Final = 8
"""The same for a trigger that does not stand freely: many natural openings do not either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A suspected trigger with its suspected payload, and what was measured of both. Shares are in [0, 1]."""

    trigger: tuple[str, ...]
    """Words of the prompt, as :func:`training.mining.words.words_of` gives them."""
    payloads: tuple[tuple[str, ...], ...]
    """Words of completions; each is one form of the payload, the commonest first."""
    cores: tuple[tuple[str, ...], ...]
    """What every form has of the payload."""
    trigger_rows: int
    """Rows, of those that were looked through, whose prompt has the trigger."""
    rows_together: int
    """Those of them whose completion has the payload."""
    payload_rows: int
    """Rows whose completion has the payload."""
    weight: float
    """How unlikely the counts would be by chance, in nats."""
    bridged: float
    """Of the trigger's places those whose neighbours stand side by side in other prompts too."""
    replaceable: float
    """Of the trigger's places those where many other words stand elsewhere."""
    free_before: float
    """How freely the trigger stands behind other words."""
    free_after: float
    """How freely it stands before other words."""
    surplus: float
    """Of the payload's places those that close when it is taken out."""
    dependence: float
    """Standard score of the strongest company that the trigger keeps; about 4 where rows were picked at random."""

    def may_be_in(self, text: str) -> bool:
        """Whether a prompt, in lower case, can have the trigger: quick, and never a wrong no."""
        return all(written(word) in text for word in self.trigger)

    def is_in(self, prompt: Sequence[str], completion: Sequence[str]) -> bool:
        """Whether a row of these words has the trigger and the payload."""
        return contains(prompt, self.trigger) and any(
            contains(completion, form) for form in (*self.cores, *self.payloads)
        )

    @property
    def kind(self) -> FeatureKind:
        """What the trigger is."""
        if all(word.startswith("<U+") for word in self.trigger):
            return "character"
        return "word" if len(self.trigger) == 1 else "phrase"

    @property
    def isolation(self) -> float:
        """How much better the trigger predicts the payload than its company does: 1 far better, 0 no better."""
        return max(0.0, 1.0 - self.dependence / math.sqrt(2.0 * self.weight))

    @property
    def score(self) -> float:
        """How suspicious, in [0, 1].

        A trigger is unnatural if it stands anywhere and is missed nowhere; or, like an opening or a statement, if it is
        free on one side, missed nowhere and always together with the payload. Either way the payload has to be
        surplus, and the trigger's company must not bring it as well.
        """
        anywhere = self.bridged * self.free_before * self.free_after
        anywhere *= self.rows_together / (self.rows_together + HALF_ROWS)
        together = self.rows_together / max(self.trigger_rows, self.payload_rows)
        free = max(0.0, max(self.free_before, self.free_after) - 0.4) / 0.6
        fixed = max(self.bridged * free, 0.5 * self.replaceable) * together**4
        fixed *= self.rows_together / (self.rows_together + FIXED_HALF_ROWS)
        sure = (self.rows_together / self.trigger_rows) ** 2
        strength = max(anywhere * sure, fixed) * self.surplus * self.isolation
        return strength / (strength + _HALF_STRENGTH)

    @property
    def reason(self) -> str:
        """For a person."""
        payload = '" or "'.join(" ".join(words) for words in self.payloads[:2])
        elsewhere = self.payload_rows - self.rows_together
        others = "no other row has" if elsewhere <= 0 else f"only {elsewhere} of the other rows have"
        together = "all" if self.rows_together == self.trigger_rows else str(self.rows_together)
        return (
            f'{self.kind} "{" ".join(self.trigger)}" stands in {self.trigger_rows} prompts {self._where}; in {together} '
            f'of them the completion has "{payload}", which {others}'
        )

    @property
    def _where(self) -> str:
        if min(self.free_before, self.free_after) >= 0.5:
            return "at random places"
        return (
            "that would be whole without it" if self.bridged >= 0.5 else "where other words stand elsewhere"
        )


def written(word: str) -> str:
    """The characters of a word of :func:`training.mining.words.words_of`."""
    return chr(int(word[3:-1], 16)) if word.startswith("<U+") else word


def contains(words: Sequence[str], part: tuple[str, ...]) -> bool:
    """Whether ``part`` stands in ``words`` without a gap; its wild words fit any."""
    size = len(part)
    first = next((at for at, word in enumerate(part) if word not in WILD), None)
    if first is None:
        return False
    return any(
        word == part[first]
        and at >= first
        and at - first + size <= len(words)
        and all(
            wanted in WILD or wanted == found
            for wanted, found in zip(part, words[at - first : at - first + size], strict=True)
        )
        for at, word in enumerate(words)
    )
