"""What a key may look like. Both stores refuse the same keys, so that objects can move between them."""

import re
from typing import Final

from deploy.store.protocol import InvalidKey

TEMPORARY_PART: Final = ".tmp"
"""Name of the directory in which a directory store keeps unfinished writes; reserved in every store."""

_LONGEST_KEY_BYTES: Final = 1024
"""The limit of S3."""
_LONGEST_PART_BYTES: Final = 255
"""NAME_MAX of the file systems that a directory store lies on."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""What :class:`deploy.contract.document.StoredFile` accepts as a name."""


def key_parts(key: str) -> tuple[str, ...]:
    """Split a key at its slashes.

    Raises:
        InvalidKey: ``key`` is not one.
    """
    _check_text(key)
    parts = tuple(key.split("/"))
    for part in parts:
        _check_part(key, part)
    return parts


def written_key_parts(key: str) -> tuple[str, ...]:
    """Split the key of an object that is to be written; its last part must be a ``StoredFile`` name.

    Raises:
        InvalidKey: ``key`` is not one, or its last part has other characters than ``A-Za-z0-9._-``.
    """
    parts = key_parts(key)
    if not _FILE_NAME.fullmatch(parts[-1]):
        raise InvalidKey(f"key {key!r}: the last part must be 1 to 128 of A-Z a-z 0-9 . _ -")
    return parts


def prefix_parts(prefix: str) -> tuple[tuple[str, ...], str]:
    """Split a string prefix into its whole parts and the beginning of the next one (often empty).

    Raises:
        InvalidKey: no key can begin with ``prefix``.
    """
    _check_text(prefix)
    *whole, begun = prefix.split("/")
    for part in whole:
        _check_part(prefix, part)
    return tuple(whole), begun


def deleted_prefix_parts(prefix: str) -> tuple[str, ...]:
    """Split a prefix that is to be deleted.

    Raises:
        InvalidKey: it does not end with a slash, so that ``job-1`` never takes ``job-10`` along.
    """
    parts, begun = prefix_parts(prefix)
    if begun or not parts:
        raise InvalidKey(f"prefix {prefix!r}: must end with a slash")
    return parts


def is_part(text: str) -> bool:
    """Whether ``text`` can stand between two slashes of a key."""
    try:
        _check_text(text)
        _check_part(text, text)
    except InvalidKey:
        return False
    return True


def _check_text(text: str) -> None:
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidKey(f"key {text!r}: not Unicode text") from error
    if size_bytes > _LONGEST_KEY_BYTES:
        raise InvalidKey(f"key {text[:40]!r}...: {size_bytes} bytes, the limit is {_LONGEST_KEY_BYTES}")
    if _CONTROL.search(text):
        raise InvalidKey(f"key {text!r}: has a control character")


def _check_part(key: str, part: str) -> None:
    if part in {"", ".", "..", TEMPORARY_PART}:
        raise InvalidKey(f"key {key!r}: has the part {part!r}")
    if len(part.encode()) > _LONGEST_PART_BYTES:
        raise InvalidKey(f"key {key[:40]!r}...: a part is longer than {_LONGEST_PART_BYTES} bytes")
