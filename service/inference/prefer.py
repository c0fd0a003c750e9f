"""How long a client is willing to wait: ``Prefer: wait=N`` of RFC 7240."""

import re
from collections.abc import Sequence
from typing import Final

MAX_WAIT_S: Final = 600
"""More is taken as this much; what lies between client and service may have less patience."""
_WAIT: Final = re.compile(r'wait\s*=\s*"?([0-9]{1,6})"?', re.IGNORECASE)


def wait_asked(headers: Sequence[str]) -> int:
    """Seconds that the values of all ``Prefer`` headers ask for; 0 where they ask for none, or wrongly.

    The RFC lets a server ignore what it does not understand, and of a preference that is said twice the first counts.
    """
    for preference in ",".join(headers).split(","):
        match = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if match is not None:
            return min(int(match[1]), MAX_WAIT_S)
    return 0
