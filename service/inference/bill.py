"""What one request costs its project: tokens that are reserved before it is sent on, and settled when it has ended.

Reserved is the most that it can come to, so that many requests at once never spend more than there is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from typing import Protocol


class Reserved(Protocol):
    """Tokens that nobody else can spend; :class:`service.limits.limiter.Reservation` is one."""

    def settle(self, spent: int) -> None:
        """Give back what was not spent. Called once."""
        ...


class Allowance(Protocol):
    """What projects may spend; :class:`service.limits.limiter.Limiter` is one."""

    async def reserve(self, project: str, tokens: int) -> Reserved:
        """Reserve tokens. Raises TooMany when there are not so many left."""
        ...


class Bill:
    """Of one request. What it owes changes with what becomes of it.

    Nothing before it is sent on; all that was reserved from then on, for whoever goes away before the end must not
    compute for free; what the server counted, once it has said so; nothing when the server fails.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.owed = 0

    def sent(self) -> None:
        """The server has it from now on."""
        self.owed = self.tokens

    def counted(self, usage: Any) -> None:
        """The server's own count. One that is none, or more than can be, changes nothing."""
        total = usage.get("total_tokens") if isinstance(usage, dict) else None
        if isinstance(total, int) and not isinstance(total, bool) and 0 <= total <= self.tokens:
            self.owed = total

    def failed(self) -> None:
        """The server failed; that is not the client's fault."""
        self.owed = 0

    @contextmanager
    def settled(self, reserved: Reserved) -> Iterator[None]:
        """Settle when the block ends, however it does."""
        try:
            yield
        finally:
            reserved.settle(self.owed)
