"""Identifiers: a prefix that says what it names, then milliseconds and 80 random bits in hexadecimal.

They sort by age, so that lists keep the order of things made within one second. Nobody can guess
one, and none needs escaping in a URL, an object key or a DNS label.
"""

import secrets
import time
from typing import Final
from typing import Literal

Prefix = Literal[
    "file",
    "upload",
    "part",
    "base",
    "ftjob",
    "scan",
    "ftevent",
    "ftckpt",
    "ep",
    "req",
    "incident",
    "note",
    "proj",
    "audit",
    "webhook",
    "delivery",
    "event",
]

RANDOM_BYTES: Final = 10
TIME_DIGITS: Final = 12
"""Of hexadecimal milliseconds: enough until the year 10889."""


def new_id(prefix: Prefix) -> str:
    """A fresh id such as ``file-0f3a...``."""
    milliseconds = time.time_ns() // 1_000_000
    return f"{prefix}-{milliseconds:0{TIME_DIGITS}x}{secrets.token_hex(RANDOM_BYTES)}"
