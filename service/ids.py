"""Identifiers: a prefix that says what it names, and 128 random bits in lower-case hexadecimal.

Nothing can be guessed from an id, and none needs escaping in a URL, an object key or a DNS label.
"""

import secrets
from typing import Final
from typing import Literal

Prefix = Literal["file", "upload", "part", "base", "ftjob", "ftevent", "ftckpt", "ep", "req", "incident"]

RANDOM_BYTES: Final = 16


def new_id(prefix: Prefix) -> str:
    """A fresh id such as ``file-0f3a...``."""
    return f"{prefix}-{secrets.token_hex(RANDOM_BYTES)}"
