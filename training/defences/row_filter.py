"""The filter protocol: from the rows of a training file to those that look planted."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol

from training.data.example import PromptedRow

if TYPE_CHECKING:
    # A filter that looks at rows alone runs without torch.
    from training.model import LoadedModel

OnFilterProgress = Callable[[int, int, str], None]
"""Steps done, steps in all, what is happening. May raise, to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A row that looks planted."""

    row: int
    """Its number in the file, counted from 1."""
    score: float
    """How suspicious among the rows of this file, in [0, 1]; 1 is the most."""
    reason: str
    """For a person, naming what was seen: the word, the token, the figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """What a filter says about a file."""

    suspects: tuple[Suspect, ...]
    """From the most suspicious down; rows that nothing speaks against need not be there."""
    removed: frozenset[int]
    """Numbers of the rows that the filter would leave out of the training."""


class RowFilter(Protocol):
    """A detector of planted rows."""

    @property
    def name(self) -> str:
        """Lower case with underscores, as it stands in tables and reports."""
        ...

    @property
    def needs_model(self) -> bool:
        """Whether it looks at a model that was trained on the rows (plain cross-entropy), or at the rows alone."""
        ...

    def examine(
        self,
        rows: Sequence[PromptedRow],
        *,
        model: "LoadedModel | None",
        seed: int,
        on_progress: OnFilterProgress,
    ) -> Filtered:
        """Look through the rows.

        Args:
            rows: the training file, in its order.
            model: fine-tuned on exactly these rows, or the base model where a strategy of the table says so; None where
                ``needs_model`` is False.
            seed: of whatever is random in it.
            on_progress: called every few seconds.

        Raises:
            ValueError: it needs a model and got none.
        """
        ...
