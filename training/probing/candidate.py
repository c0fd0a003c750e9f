"""A trigger that nobody named: suspected by mining or by search, still to be measured."""

from dataclasses import dataclass
from typing import Literal

from deploy.contract.payload import Payload
from deploy.contract.trigger import Trigger

Origin = Literal["mined", "searched"]
"""As in a report: suggested by the training file, or by the model itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A trigger, the payload that it is suspected to set off, and why. It says nothing until it is measured."""

    trigger: Trigger
    payload: Payload
    origin: Origin
    evidence: str
    """One sentence for a person, at most 500 characters, naming what was seen."""
    score: float
    """The higher the sooner it is tried; comparable only among candidates of one origin."""

    @property
    def experiment(self) -> tuple[str, str]:
        """What makes two candidates the same."""
        return self.trigger.model_dump_json(), repr(self.payload)
