"""Reads the spec that a start was given: exactly the bytes that were accepted, or nothing."""

from typing import TypeVar

from deploy.contract.document import Document
from deploy.contract.document import DocumentError
from deploy.contract.document import sha256_hex
from deploy.contract.exit_codes import ExitCode
from deploy.store.opening import locate
from training.errors import InvalidInput

Spec = TypeVar("Spec", bound=Document)


def read_spec(uri: str, sha256: str, kind: type[Spec]) -> Spec:
    """The spec at ``uri``, whose bytes must have this SHA-256.

    Raises:
        InvalidInput: other bytes, or not a spec of this kind.
        StoreError: it cannot be read.
    """
    store, key = locate(uri)
    data = store.get(key)
    if sha256_hex(data) != sha256:
        raise InvalidInput(
            ExitCode.INPUT_CHANGED,
            "input_changed",
            f"the spec at {uri} is not the one that was accepted: its SHA-256 differs",
        )
    try:
        return kind.from_bytes(data)
    except DocumentError as error:
        raise InvalidInput(ExitCode.INVALID_SPEC, "invalid_spec", str(error)) from error
