"""What is answered when a limit is reached.

::

    TooMany                      429
    └── LimitReached             429, its code names the limit
"""

import math
from collections.abc import Mapping
from typing import Final

from service.errors import TooMany
from service.limits.numbers import LimitName

LONGEST_WAIT_S: Final = 120.0
"""The openai client gives up when it is to wait for longer; then no client is asked to try again."""


class LimitReached(TooMany):
    """A project's limit is reached."""

    def __init__(
        self,
        limit: LimitName,
        message: str,
        *,
        retry_after_s: float | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say which.

        Args:
            limit: its name, which is in the code.
            message: what it is and how much of it is used.
            retry_after_s: when waiting helps; None when it does not, but for ending or deleting something.
            param: the offending member of the body.
            headers: more of them.
        """
        waits = {} if retry_after_s is None else {"retry-after": str(max(1, math.ceil(retry_after_s)))}
        if retry_after_s is None or retry_after_s > LONGEST_WAIT_S:
            waits["x-should-retry"] = "false"
        super().__init__(message, code=f"{limit}_exceeded", param=param, headers={**(headers or {}), **waits})
        self.limit: Final = limit
        self.retry_after_s: Final = retry_after_s
