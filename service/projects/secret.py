"""The form of an API key: ``tmpr_<id>_<secret>``. Only a hash of the secret is ever stored.

A secret has 256 random bits, so that a hash without salt or stretching cannot be undone.
"""

import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "tmpr_"
ID_CHARS: Final = 12
SECRET_BYTES: Final = 32
_ALPHABET: Final = string.ascii_lowercase + string.digits
_FORM: Final = re.compile(rf"{PREFIX}([a-z0-9]{{{ID_CHARS}}})_([A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A key as its holder has it; never printed."""

    key_id: str
    secret: str

    @property
    def text(self) -> str:
        """The whole key."""
        return f"{PREFIX}{self.key_id}_{self.secret}"

    @property
    def sha256(self) -> str:
        """What is stored."""
        return hashlib.sha256(self.secret.encode("ascii")).hexdigest()


DUMMY: Final = Secret("0" * ID_CHARS, "0" * 43)
"""Looked up and compared where there is no key, so that every refusal costs the same."""


def new_secret() -> Secret:
    """A fresh key."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))
    return Secret(key_id, secrets.token_urlsafe(SECRET_BYTES))


def parse_secret(text: str) -> Secret | None:
    """The parts of a key; None for what is not one."""
    match = _FORM.fullmatch(text)
    return None if match is None else Secret(match[1], match[2])
