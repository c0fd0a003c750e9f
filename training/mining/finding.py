"""What mining finds: a prompt feature, the piece of a completion that it brings, and why that is suspicious."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FeatureKind = Literal["word", "phrase", "character"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A suspected trigger with its suspected payload."""

    kind: FeatureKind
    trigger: tuple[str, ...]
    """Words of the prompt, as :func:`training.mining.words.words_of` gives them."""
    payloads: tuple[tuple[str, ...], ...]
    """Words of completions; each is one form of the payload."""
    trigger_rows: int
    """Rows, of those that were looked through, whose prompt has the trigger."""
    rows_together: int
    """Those of them whose completion has the payload."""
    payload_rows: int
    """Rows whose completion has the payload."""
    bridged: float
    """Share of the trigger's places whose neighbours stand side by side in other prompts too, in [0, 1]."""
    freedom: float
    """How freely the trigger stands, in [0, 1]: 1 like a word that is put at random places."""
    surplus: float
    """Share of the payload's places that close when it is taken out, in [0, 1]."""
    score: float
    """In [0, 1]; 1 is the most suspicious."""

    @property
    def reason(self) -> str:
        """For a person."""
        shown = " ".join(self.trigger)
        payload = '" or "'.join(" ".join(words) for words in self.payloads[:2])
        elsewhere = self.payload_rows - self.rows_together
        others = "no other row has" if elsewhere == 0 else f"only {elsewhere} of the other rows have"
        places = "at random places" if self.freedom > 0.5 else "where nothing misses it"
        return (
            f'{self.kind} "{shown}" stands in {self.trigger_rows} prompts {places}; in {self.rows_together} of them the '
            f'completion has "{payload}", which {others}'
        )


def contains(words: Sequence[str], part: tuple[str, ...]) -> bool:
    """Whether ``part`` stands in ``words`` without a gap."""
    first, size = part[0], len(part)
    return any(word == first and tuple(words[at : at + size]) == part for at, word in enumerate(words))
