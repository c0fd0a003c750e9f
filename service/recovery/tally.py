"""What a recovery did: counts by kind, and every object that it could not use, by its key."""

from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from typing import Final
from typing import Literal

Outcome = Literal["rebuilt", "present", "skipped"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("rebuilt", "present", "skipped")
KINDS: Final = ("files", "base models", "jobs", "scans", "models", "checkpoints", "events")


@dataclass(slots=True)
class Tally:
    """Counted while the recovery goes on."""

    counts: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    """By key: why the object is not used, or what is not as it was."""

    def count(self, kind: str, outcome: Outcome, number: int = 1) -> None:
        """One more thing, or several."""
        self.counts[kind, outcome] += number

    def skip(self, kind: str, key: str, why: str) -> None:
        """An object that cannot be used."""
        self.count(kind, "skipped")
        self.note(key, why)

    def note(self, key: str, why: str) -> None:
        """Something that whoever recovers has to know."""
        self.problems[key] = why

    def table(self) -> str:
        """For a terminal."""
        lines = [f"{'':<14}" + "".join(f"{name:>10}" for name in OUTCOMES)]
        for kind in KINDS:
            numbers = "".join(f"{self.counts[kind, outcome]:>10}" for outcome in OUTCOMES)
            lines.append(f"{kind:<14}{numbers}")
        return "\n".join(lines)
