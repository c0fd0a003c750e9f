"""How long a model's server may take, and how much one request or one endpoint may take of it."""

from dataclasses import dataclass
from typing import Final

from service.environment import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Limits of one process; times are seconds."""

    connect_s: float = 5.0
    silence_s: float = 300.0
    """Longest time without a byte: a whole answer that is not streamed, on a slow machine."""
    whole_s: float = 900.0
    """From when a request is sent on to the last byte of its answer, however busily it streams."""
    at_once: int = 128
    """Requests of one endpoint that one process has under way: four times what a server computes together."""


NAMES: Final = ("INFERENCE_SILENCE_S", "INFERENCE_WHOLE_S", "INFERENCE_AT_ONCE")
"""Variables of the environment, without their prefix."""


def read_patience(read: Reader) -> Patience:
    """The limits of an environment. Raises SettingsError naming the variable."""
    known = Patience()
    return Patience(
        silence_s=read.number("INFERENCE_SILENCE_S", known.silence_s, low=0.1, high=3600.0),
        whole_s=read.number("INFERENCE_WHOLE_S", known.whole_s, low=0.1, high=86_400.0),
        at_once=read.integer("INFERENCE_AT_ONCE", known.at_once, low=1, high=100_000),
    )
