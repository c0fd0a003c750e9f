"""Which evidence is accepted: by an endpoint before it serves, by whoever verifies a model."""

from collections.abc import Iterable
from typing import Annotated
from typing import Final

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.judgement import Verdict
from deploy.contract.probe import GatePolicy

DEFAULT_VERDICTS: Final[tuple[Verdict, ...]] = ("pass", "inconclusive")
Verdicts = Annotated[tuple[Verdict, ...], Field(min_length=1, max_length=3)]


class AcceptancePolicy(Document):
    """``--policy policy.json`` of ``temper verify``."""

    verdicts: Verdicts = DEFAULT_VERDICTS
    """That are accepted."""
    gate: GatePolicy | None = None
    """Judge the report's counts by these limits instead of those that its job was given."""


class ServePolicy(Document):
    """Under which condition a hardened model is served. Other arms have no verdict, and none is asked of them."""

    verdicts: Verdicts = DEFAULT_VERDICTS
    signed: bool = True
    """Its evidence has to be there, signed by this install, and to hold."""


class Trust(Document):
    """What a server demands of a hardened model before it starts."""

    verdicts: Verdicts
    keys: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]
    """Public keys in PEM, of which one has to have signed."""


def listed(verdicts: Iterable[Verdict]) -> str:
    """Verdicts for people."""
    return " or ".join(verdicts)
