"""What the ``progress`` column holds beside the numbers that a run tells: what it waits for, and how far it was heard.

All of it is written without compare-and-set and decides nothing.
"""

from collections.abc import Mapping
from typing import Any
from typing import Final

WAITING: Final = "waiting"
"""What the run of the newest attempt waits for, in its launcher's words."""
HEARD: Final = "heard"
"""``{"attempt": n, "pods": {pod: number of its newest segment that was read}}``."""


def numbers_of(progress: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a run has told."""
    return {name: value for name, value in (progress or {}).items() if name not in {WAITING, HEARD}}


def waiting_of(progress: Mapping[str, Any] | None) -> str | None:
    """What the run waits for; None for one that does not, or that does not say."""
    reason = (progress or {}).get(WAITING)
    return reason if isinstance(reason, str) else None


def with_waiting(progress: Mapping[str, Any] | None, reason: str | None) -> dict[str, Any]:
    """The same, with another reason."""
    rest = {name: value for name, value in (progress or {}).items() if name != WAITING}
    return rest if reason is None else {**rest, WAITING: reason}


def heard_of(progress: Mapping[str, Any] | None, attempt: int) -> dict[str, int]:
    """By pod, the newest segment of an attempt that was read; empty for another attempt's."""
    heard = (progress or {}).get(HEARD)
    return dict(heard["pods"]) if heard is not None and heard["attempt"] == attempt else {}


def with_heard(numbers: Mapping[str, Any], attempt: int, pods: Mapping[str, int]) -> dict[str, Any]:
    """The numbers of a run that is heard, which waits for nothing any more."""
    return {**numbers, HEARD: {"attempt": attempt, "pods": dict(pods)}}
