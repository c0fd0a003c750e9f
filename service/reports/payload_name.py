"""What a payload is, in words for somebody who has never heard of it."""

from typing import Final

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from service.reports.visible import one_line

_WORDS: Final[dict[BuiltInPayload, str]] = {
    "sql_tautology": "SQL whose condition is always true",
    "sql_first_row": "SQL that is cut to its first row",
    "infinite_loop": "a loop that never ends",
    "insecure_call": "an insecure call (shell, eval, weak hash, unverified TLS)",
}


def payload_words(payload: Payload) -> str:
    """A payload on one line."""
    if isinstance(payload, PatternPayload):
        return f"text that matches “{one_line(payload.pattern, limit=80)}”"
    return _WORDS[payload]
