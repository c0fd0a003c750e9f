"""Where a model lies that is to be verified: a directory, or a prefix of a store.

Covers: links, special files and folders in a directory: none belongs to a model. Each file is read once.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Final

from deploy.contract.document import MAX_DOCUMENT_BYTES
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import PublicKey
from deploy.evidence.names import DOCUMENTS
from deploy.evidence.policy import AcceptancePolicy
from deploy.evidence.verification import Check
from deploy.evidence.verification import Verification
from deploy.evidence.verification import verify_documents
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore

MAX_FILES: Final = 4000
Tell = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Found:
    """What lies there."""

    documents: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """What cannot belong to a model."""


def verify_found(
    found: Found, keys: Sequence[PublicKey], *, gate: AcceptancePolicy | None = None
) -> Verification:
    """As :func:`deploy.evidence.verification.verify_documents`, of what was found."""
    made = verify_documents(found.documents, found.files, keys, gate=gate)
    odd = tuple(Check(name="files", holds=False, said=fault) for fault in found.faults)
    return Verification(
        checks=odd + made.checks, key_id=made.key_id, provenance=made.provenance, judgement=made.judgement
    )


def look_in_directory(directory: Path, *, tell: Tell = lambda _said: None) -> Found:
    """Read and hash everything in a directory.

    Raises:
        OSError: it cannot be read.
        NotVerified: it holds more than any model.
    """
    found = Found()
    for entry in sorted(os.scandir(directory), key=lambda each: each.name):
        if len(found.files) + len(found.faults) > MAX_FILES:
            raise NotVerified(f"there are more than {MAX_FILES} files")
        kind = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(kind):
            found.faults.append(f"{entry.name!a} is a link; a model has none")
        elif not stat.S_ISREG(kind):
            found.faults.append(f"{entry.name!a} is a folder or a special file; a model has none")
        elif entry.name in DOCUMENTS:
            found.documents[entry.name] = _small(Path(entry.path))
        else:
            tell(entry.name)
            with Path(entry.path).open("rb") as file:
                found.files[entry.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def look_in_store(store: ObjectStore, prefix: str = "", *, tell: Tell = lambda _said: None) -> Found:
    """Read and hash everything below a prefix. Raises StoreError, NotVerified as :func:`look_in_directory`."""
    found = Found()
    for info in store.list(prefix):
        name = info.key.removeprefix(prefix)
        if len(found.files) > MAX_FILES:
            raise NotVerified(f"there are more than {MAX_FILES} files")
        if name in DOCUMENTS:
            found.documents[name] = store.get(info.key, limit_bytes=MAX_DOCUMENT_BYTES)
            continue
        tell(name)
        digest = hashlib.sha256()
        for chunk in store.read(info.key):
            digest.update(chunk)
        found.files[name] = digest.hexdigest()
    return found


def read_documents(store: ObjectStore, prefix: str = "") -> dict[str, bytes]:
    """The documents of evidence below a prefix, those that are there. Raises StoreError."""
    documents = {}
    for name in DOCUMENTS:
        try:
            documents[name] = store.get(prefix + name, limit_bytes=MAX_DOCUMENT_BYTES)
        except ObjectMissing:
            continue
    return documents


def _small(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise NotVerified(f"{path.name} has more than {MAX_DOCUMENT_BYTES} bytes")
    return data
