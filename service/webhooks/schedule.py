"""When a delivery that was not taken is tried again: as Standard Webhooks proposes, over a day and a bit."""

import random
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

WAITS_S: Final = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
"""Before the second, third, ... try."""
JITTER: Final = 0.2
"""So that what failed together does not come again together."""
MAX_RETRY_AFTER_S: Final = 24 * 3600


def wait_s(tries: int, retry_after_s: float | None, chance: random.Random) -> float | None:
    """Seconds until the next try; None when there were enough.

    Args:
        tries: that were made, at least one.
        retry_after_s: what the receiver asked for; it is waited for if it is longer.
        chance: for the jitter.
    """
    if tries > len(WAITS_S):
        return None
    planned = WAITS_S[tries - 1] * chance.uniform(1.0, 1.0 + JITTER)
    return max(planned, retry_after_s or 0.0)


def retry_after_s(header: str | None, *, now: float) -> float | None:
    """Seconds that a ``Retry-After`` asks for, at most a day; None for none, or for one that is none.

    Args:
        header: seconds, or a date.
        now: Unix seconds.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:12]), MAX_RETRY_AFTER_S))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(at.timestamp() - now, 0.0), float(MAX_RETRY_AFTER_S))
