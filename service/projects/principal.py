"""Who calls, and what they may do. Data alone."""

from dataclasses import dataclass
from typing import Final
from typing import Literal
from typing import get_args

Scope = Literal["read", "train", "deploy", "infer", "webhooks", "keys", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
GRANTABLE: Final[tuple[Scope, ...]] = tuple(scope for scope in SCOPES if scope != "admin")
"""What a key of a project may have: ``admin`` is the operator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls: a key of a project, or the operator on its behalf."""

    project: str
    """All that it sees and makes is this project's."""
    key_id: str | None
    """None for the operator's own key, and for programs of this machine where no key is set."""
    scopes: frozenset[Scope]
    operator: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes


def operator_of(project: str) -> Principal:
    """The operator, who may do everything, acting in a project."""
    return Principal(project=project, key_id=None, scopes=frozenset(SCOPES), operator=True)
