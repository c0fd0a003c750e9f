"""Whether objects that a result names are what it says. Nothing of a result is believed before."""

import hashlib
from typing import Final

from deploy.contract.document import sha256_hex
from deploy.contract.result import StoredObject
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore

DOCUMENT_BYTES: Final = 16 << 20


class BadResult(Exception):  # noqa: N818 - a job's, not an error of ours
    """A result is not one that this job or scan can have; it is never shown or served."""


def refuse_large(store: ObjectStore, key: str) -> None:
    """What cannot be read whole can never become right, so it must not be tried again for ever.

    Raises:
        BadResult: the object is larger than a document may be.
    """
    info = store.info(key)
    if info is not None and info.size_bytes > DOCUMENT_BYTES:
        raise BadResult(f"{key} has {info.size_bytes} bytes, the limit is {DOCUMENT_BYTES}")


def expect_key(stored: StoredObject, key: str) -> None:
    """Raises BadResult for an object that lies elsewhere."""
    if stored.key != key:
        raise BadResult(f"{stored.key} does not belong to attempt and pod")


def read_document(store: ObjectStore, stored: StoredObject) -> bytes:
    """The bytes of a small object, as they were committed. Raises BadResult for others, or for none."""
    refuse_large(store, stored.key)
    try:
        data = store.get(stored.key)
    except ObjectMissing as error:
        raise BadResult(f"{stored.key} is missing") from error
    if len(data) != stored.size_bytes or sha256_hex(data) != stored.sha256:
        raise BadResult(f"{stored.key} is not what was committed")
    return data


def verify_object(store: ObjectStore, stored: StoredObject) -> None:
    """Hash an object of any size. Raises BadResult unless it is what was committed."""
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        for chunk in store.read(stored.key):
            digest.update(chunk)
            size_bytes += len(chunk)
            if size_bytes > stored.size_bytes:
                break
    except ObjectMissing as error:
        raise BadResult(f"{stored.key} is missing") from error
    if size_bytes != stored.size_bytes or digest.hexdigest() != stored.sha256:
        raise BadResult(f"{stored.key} is not what was committed")
