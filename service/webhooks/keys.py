"""The key that the secrets of webhooks come from: the operator's, or one that an embedded service makes for itself."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.settings import Settings
from service.webhooks.signing import MasterKey

KEPT_AS: Final = "webhook.key"
KEY_BYTES: Final = 32


def master_key(settings: Settings) -> MasterKey:
    """The key of a service. Raises OSError when its home cannot be written."""
    given = settings.webhooks.key
    return MasterKey(_kept(settings.home / KEPT_AS) if given is None else given)


def _kept(path: Path) -> bytes:
    """What a file has; one that is not there is made first, and never seen half written."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # another thread was faster, and its key is the one
            os.link(aside, path)
    finally:
        aside.unlink()
    return path.read_bytes()
