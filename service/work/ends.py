"""How a job or a scan ends, and why one failed, in words that programs can rely on: ``error.code``."""

from collections.abc import Mapping
from typing import Final

TERMINAL: Final = frozenset({"succeeded", "failed", "cancelled"})
"""Statuses of what is over."""
CODES: Final[Mapping[str, str]] = {
    "deadline_exceeded": "the run was stopped at its deadline",
    "launch_failed": "the cluster did not take the run, again and again",
    "unschedulable": "no machine took the run for longer than the operator lets it wait",
    "image_pull_failed": "the run's image did not come within that time",
    "out_of_memory": "it needs more memory than it has: said at once where the machine killed it, after a second try "
    "where it gave up by itself",
    "evicted": "its machines were taken away more often than the service tries",
    "stalled": "it made no progress for too long, twice",
    "bad_result": "what it committed is not a result that it can have",
    "platform_error": "anything else that is not its user's, as often as the service tries",
}
"""Those that the service finds. The others are a run's own, about its input."""
ERROR_CODES: Final = "Null, or code, message and param. Codes: " + "; ".join(
    [*(f"`{code}` {meaning}" for code, meaning in CODES.items()), "others name what is wrong with the input."]
)
