"""The keys of an install: the one that signs, and those that are trusted."""

import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from typing import TypeVar

from deploy.evidence.error import BadKey
from deploy.evidence.keys import PublicKey
from deploy.evidence.keys import SigningKey
from deploy.evidence.keys import read_public_keys
from service.environment import PREFIX
from service.environment import SettingsError
from service.settings import Settings

logger = logging.getLogger(__name__)
HOME_KEY: Final = "signing-key.pem"
HOME_PUBLIC_KEY: Final = "signing-key.pub.pem"
"""Beside it, for whoever verifies on the same machine."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """Of the process that reconciles."""

    signing: SigningKey
    trusted: tuple[PublicKey, ...]
    """The signing key's own first."""

    @property
    def pems(self) -> tuple[str, ...]:
        """What is trusted, in PEM."""
        return tuple(key.pem for key in self.trusted)


def open_keyring(settings: Settings) -> Keyring:
    """The keys that the settings name; without any, one in the home, which is made there once.

    Raises:
        SettingsError: a key cannot be read or is of another kind, or a cluster's install names none: what a pod
            makes is gone with the pod.
    """
    evidence = settings.evidence
    if evidence.signing_key_file is not None:
        signing = _read("SIGNING_KEY_FILE", evidence.signing_key_file, SigningKey.from_pem)
    elif settings.cluster is not None:
        raise SettingsError(
            f"{PREFIX}SIGNING_KEY_FILE: is not set; in a cluster the key that signs evidence has to be given"
        )
    else:
        signing = _own(settings.home)
        if settings.role == "reconcile":
            logger.warning(
                "%sSIGNING_KEY_FILE is not set: a reconciler in another home has another key", PREFIX
            )
    older: tuple[PublicKey, ...] = ()
    if evidence.trusted_file is not None:
        older = _read("SIGNING_TRUSTED_FILE", evidence.trusted_file, read_public_keys)
    return Keyring(signing=signing, trusted=tuple(dict.fromkeys((signing.public, *older))))


def _read(name: str, path: Path, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{PREFIX}{name}: {path} cannot be read: {error.strerror}") from error
    except BadKey as error:
        raise SettingsError(f"{PREFIX}{name}: {path}: {error}") from error


def _own(home: Path) -> SigningKey:
    path = home / HOME_KEY
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        _make(path)
    key = _read("HOME", path, SigningKey.from_pem)
    (home / HOME_PUBLIC_KEY).write_text(key.public.pem)
    return key


def _make(path: Path) -> None:
    """Once, whole, and readable by its owner alone, wherever a crash falls."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(SigningKey.generate().to_pem())
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
        logger.info("%s was made: back it up, for what it signs is verified with its public half", path)
    except FileExistsError:
        return  # another process was faster
    finally:
        aside.unlink()
