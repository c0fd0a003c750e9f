"""DSSE envelopes: a payload, what it is, and signatures over both (secure-systems-lab/dsse, v1.0.2).

Covers: payloads of another type, signatures by foreign keys, none, or many; JSON with doubled keys or of odd forms.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any
from typing import Final

from deploy.contract.strict_json import StrictJsonError
from deploy.contract.strict_json import parse
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import PublicKey
from deploy.evidence.keys import SigningKey

IN_TOTO: Final = "application/vnd.in-toto+json"
MAX_BYTES: Final = 4 << 20
"""Of an envelope: two thousand files have digests of less than half a mebibyte."""


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """What is signed: type and payload with their lengths, so that neither can pass for part of the other."""
    kind = payload_type.encode()
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])


def seal(payload: bytes, key: SigningKey) -> dict[str, Any]:
    """An envelope around an in-toto statement."""
    signature = key.sign(pre_authentication(IN_TOTO, payload))
    return {
        "payloadType": IN_TOTO,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key.public.id, "sig": base64.b64encode(signature).decode()}],
    }


def unseal(envelope: Any, keys: Sequence[PublicKey], *, what: str) -> tuple[dict[str, Any], PublicKey]:
    """The in-toto statement of an envelope that one of ``keys`` has signed, and that key.

    Key ids in the envelope are a hint that anybody may write: they are not looked at.

    Raises:
        NotVerified: no such signature, or no such statement.
    """
    if not isinstance(envelope, dict) or envelope.get("payloadType") != IN_TOTO:
        raise NotVerified(f"{what}: not an envelope of an in-toto statement")
    payload = _decoded(envelope.get("payload"), what)
    signed = pre_authentication(IN_TOTO, payload)
    key = next(
        (key for each in _signatures(envelope, what) for key in keys if key.verifies(each, signed)), None
    )
    if key is None:
        raise NotVerified(f"{what}: not signed by {_named(keys)}")
    return read_object(payload, what=what), key


def read_object(data: bytes, *, what: str) -> dict[str, Any]:
    """A JSON object without doubled keys. Raises NotVerified."""
    if len(data) > MAX_BYTES:
        raise NotVerified(f"{what}: {len(data)} bytes, the limit is {MAX_BYTES}")
    try:
        document = parse(data.decode())
    except (StrictJsonError, UnicodeDecodeError) as error:
        raise NotVerified(f"{what}: {error}") from None
    if not isinstance(document, dict):
        raise NotVerified(f"{what}: not a JSON object")
    return document


def to_json(document: Any) -> bytes:
    """Sorted and indented; the same document always gives the same bytes."""
    return (
        json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    ).encode()


def _signatures(envelope: dict[str, Any], what: str) -> list[bytes]:
    listed = envelope.get("signatures")
    if not isinstance(listed, list) or not 1 <= len(listed) <= 8:
        raise NotVerified(f"{what}: has no signature")
    return [_decoded(each.get("sig") if isinstance(each, dict) else None, what) for each in listed]


def _decoded(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise NotVerified(f"{what}: its envelope lacks payload or signature")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotVerified(f"{what}: its envelope is not base64") from None


def _named(keys: Sequence[PublicKey]) -> str:
    if len(keys) == 1:
        return f"the key {keys[0].id[:16]}"
    return f"any of the {len(keys)} keys that are trusted"
