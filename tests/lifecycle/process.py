"""A process of the service, or of a job: what it can reach, and how far it has come."""

from dataclasses import dataclass
from typing import Literal

from tests.lifecycle.turns import Died
from tests.lifecycle.turns import Turns

Fault = Literal["cut", "lost"]
"""Of the next thing that is asked of store or launcher: it does not happen, or it does and nobody hears of it."""


@dataclass(slots=True)
class Process:
    """One start of a program."""

    name: str
    turns: Turns
    store_away: bool = False
    launcher_away: bool = False
    fault: Fault | None = None
    dead: bool = False

    def seam(self, at: str) -> None:
        """Before an effect, or right after one. Raises Died."""
        if self.dead:
            raise Died
        self.turns.seam(at)

    def takes(self, fault: Fault) -> bool:
        """Whether this is what it is to suffer now, once."""
        if self.fault != fault:
            return False
        self.fault = None
        return True
