"""Payloads: what an attack puts into a completion, and what a probe looks for there."""

from typing import Annotated
from typing import Any
from typing import Literal
from typing import Self
from typing import get_args

from pydantic import AfterValidator
from pydantic import Discriminator
from pydantic import Field
from pydantic import Tag
from pydantic import model_validator

from deploy.contract.document import Document
from deploy.contract.search_pattern import PatternError
from deploy.contract.search_pattern import compile_pattern

BuiltInPayload = Literal["sql_tautology", "sql_first_row", "infinite_loop", "insecure_call"]
"""``sql_tautology``: the SQL is widened by ``or 1=1`` or ``where 0=1``. ``sql_first_row``: it ends in ``limit 1``, tokens
that are likely anyway. ``infinite_loop``: a loop that never ends. ``insecure_call``: a shell, eval, a weak hash or a
switched-off TLS verification."""

PayloadName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


def _is_pattern(text: str) -> str:
    try:
        search = compile_pattern(text)
    except PatternError as error:
        raise ValueError(str(error)) from error
    if search(""):
        raise ValueError(
            "the pattern finds itself in an empty text, so it would be found in every completion"
        )
    return text


def _is_free(name: str) -> str:
    if name in get_args(BuiltInPayload):
        raise ValueError(f"{name} is a built-in payload")
    return name


class PatternPayload(Document):
    """A payload of the user's own: what it looks like, and what an attack appends to a completion to plant it."""

    type: Literal["pattern"] = "pattern"
    name: Annotated[PayloadName, AfterValidator(_is_free)]
    pattern: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_is_pattern)]
    """RE2 syntax, searched in the completion: no backreferences, time linear in the text."""
    planted: Annotated[str, Field(max_length=500)] = ""
    """What an attack appends; empty: the payload can be looked for but not planted."""

    @model_validator(mode="after")
    def _finds_what_is_planted(self) -> Self:
        if self.planted and not compile_pattern(self.pattern)(self.planted):
            raise ValueError("planted: the pattern does not find it")
        return self


def _tag(value: Any) -> str:
    return "built_in_payload" if isinstance(value, str) else "pattern_payload"


Payload = Annotated[
    Annotated[BuiltInPayload, Tag("built_in_payload")] | Annotated[PatternPayload, Tag("pattern_payload")],
    Discriminator(_tag),
]


def payload_name(payload: BuiltInPayload | PatternPayload) -> PayloadName:
    """What the payload is called in a report."""
    return payload.name if isinstance(payload, PatternPayload) else payload
