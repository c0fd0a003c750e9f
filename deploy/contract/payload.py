"""Payloads: what an attack puts into a completion, and what a probe looks for there."""

from typing import Annotated
from typing import Literal

from pydantic import Field

from deploy.contract.document import Document

BuiltInPayload = Literal["sql_tautology", "sql_first_row", "infinite_loop", "insecure_call"]
"""``sql_tautology``: the SQL is widened by ``or 1=1`` or ``where 0=1``. ``sql_first_row``: it ends in ``limit 1``, tokens
that are likely anyway. ``infinite_loop``: a loop that never ends. ``insecure_call``: a shell, eval, a weak hash or a
switched-off TLS verification."""

PayloadName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class PatternPayload(Document):
    """A payload of the user's own: what it looks like, and what an attack appends to a completion to plant it."""

    type: Literal["pattern"] = "pattern"
    name: PayloadName
    pattern: Annotated[str, Field(min_length=1, max_length=500)]
    """RE2 syntax, searched in the completion: no backreferences, time linear in the text."""
    planted: Annotated[str, Field(max_length=500)] = ""
    """What an attack appends; empty: the payload can be looked for but not planted."""


Payload = BuiltInPayload | PatternPayload


def payload_name(payload: Payload) -> PayloadName:
    """What the payload is called in a report."""
    return payload.name if isinstance(payload, PatternPayload) else payload
