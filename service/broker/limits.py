"""What one pod may take of the broker and of the store. Every figure can be set by the operator."""

from dataclasses import dataclass
from typing import Final

from service.environment import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLimits:
    """Limits of the broker. Those on rates and on what is going on are of each replica."""

    max_objects: int = 500_000
    """That one pod may have stored: a job writes a segment of events every 5 s, for 30 days at most."""
    max_bytes: int = 2 << 40
    """That one pod may have stored: arms and checkpoints of a model of some 70 billion weights."""
    max_uploads: int = 16
    """Large writes of one pod that have begun and not ended."""
    requests_per_s: float = 100.0
    """Of one pod, on average."""
    burst: int = 400
    """Requests that it may make at once after a pause."""
    in_flight: int = 16
    """Requests of one pod at a time."""
    reviews_per_s: float = 10.0
    """Tokens that one address may present for the first time, so that guessing cannot flood the API server."""
    direct: bool = True
    """Large objects go past the broker, where the store can do that. Pods must then reach the store's server."""
    url_expires_s: int = 900
    """Of the URLs by which they do."""
    read_grace_s: float = 300.0
    """How long the pods of a job that is over may still read."""
    idle_s: float = 30.0
    """Without a byte, in either direction, after which a request is cut."""
    least_bytes_per_s: int = 32 << 10
    """Slower bodies are cut."""
    transfers: int = 64
    """Store calls at a time."""


NAMES: Final = tuple(
    f"BROKER_{name}"
    for name in (
        "MAX_OBJECTS",
        "MAX_BYTES",
        "MAX_UPLOADS",
        "REQUESTS_PER_S",
        "BURST",
        "IN_FLIGHT",
        "REVIEWS_PER_S",
        "DIRECT",
        "URL_EXPIRES_S",
        "READ_GRACE_S",
        "IDLE_S",
        "LEAST_BYTES_PER_S",
        "TRANSFERS",
    )
)
"""Variables of the environment, without their prefix."""


def read_limits(read: Reader) -> BrokerLimits:
    """The limits of an environment. Raises SettingsError naming the variable."""
    known = BrokerLimits()
    return BrokerLimits(
        max_objects=read.integer("BROKER_MAX_OBJECTS", known.max_objects, low=1, high=10**9),
        max_bytes=read.integer("BROKER_MAX_BYTES", known.max_bytes, low=1, high=1 << 50),
        max_uploads=read.integer("BROKER_MAX_UPLOADS", known.max_uploads, low=1, high=1000),
        requests_per_s=read.number("BROKER_REQUESTS_PER_S", known.requests_per_s, low=0.1, high=1e6),
        burst=read.integer("BROKER_BURST", known.burst, low=1, high=10**6),
        in_flight=read.integer("BROKER_IN_FLIGHT", known.in_flight, low=1, high=1000),
        reviews_per_s=read.number("BROKER_REVIEWS_PER_S", known.reviews_per_s, low=0.1, high=1e6),
        direct=read.flag("BROKER_DIRECT", default=known.direct),
        url_expires_s=read.integer("BROKER_URL_EXPIRES_S", known.url_expires_s, low=10, high=900),
        read_grace_s=read.number("BROKER_READ_GRACE_S", known.read_grace_s, low=0.0, high=86_400.0),
        idle_s=read.number("BROKER_IDLE_S", known.idle_s, low=0.1, high=600.0),
        least_bytes_per_s=read.integer(
            "BROKER_LEAST_BYTES_PER_S", known.least_bytes_per_s, low=1, high=1 << 30
        ),
        transfers=read.integer("BROKER_TRANSFERS", known.transfers, low=1, high=1000),
    )
