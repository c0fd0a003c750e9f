"""Signatures of Standard Webhooks. Secrets are computed from one key of the operator's, and kept nowhere.

So nothing that could sign lies in the database or its backups; with another key every webhook has another secret.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Final

PREFIX: Final = "whsec_"
HINT_CHARS: Final = 4


@dataclass(frozen=True, slots=True)
class Secret:
    """What one webhook's deliveries are signed with."""

    key: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """As its receiver is given it, once."""
        return PREFIX + base64.b64encode(self.key).decode()

    @property
    def hint(self) -> str:
        """Enough to tell one from another, and no more."""
        return f"{PREFIX}...{self.text[-HINT_CHARS:]}"

    def sign(self, message_id: str, timestamp: int, body: bytes) -> str:
        """One signature."""
        signed = f"{message_id}.{timestamp}.".encode() + body
        return "v1," + base64.b64encode(hmac.digest(self.key, signed, hashlib.sha256)).decode()


@dataclass(frozen=True, slots=True)
class MasterKey:
    """Computes secrets."""

    key: bytes = field(repr=False)

    def secret(self, endpoint_id: str, version: int) -> Secret:
        """Of a webhook; every rotation makes another version."""
        return Secret(hmac.digest(self.key, f"{endpoint_id}:{version}".encode(), hashlib.sha256))


def signed_headers(secrets: Sequence[Secret], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery; while a secret is being replaced, with a signature of each."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(secret.sign(message_id, timestamp, body) for secret in secrets),
    }
