"""``model.sig``: the OpenSSF model signature, a sigstore bundle over the digests of all files.

Written by the package ``model-signing`` from digests that are known already: gigabytes are not read again. Read by
this module itself, which needs no more than the key, where an endpoint starts or a user verifies. ``model_signing
verify key`` verifies it untouched.
"""

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from typing import Final

from deploy.evidence.envelope import read_object
from deploy.evidence.envelope import unseal
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import PublicKey
from deploy.evidence.keys import SigningKey
from deploy.evidence.names import SIGNATURE

BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://model_signing/signature/v1.0"
SERIALIZATION: Final = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": [SIGNATURE],
}


def sign_model(name: str, digests: Mapping[str, str], key: SigningKey) -> bytes:
    """The signature of a model.

    Args:
        name: of the model; tells nothing to a verifier.
        digests: SHA-256 by file name, of all files but the signature itself.
        key: to sign with.
    """
    # Half a second to import, and only the signer has the package.
    from model_signing import manifest
    from model_signing._hashing.hashing import Digest
    from model_signing._signing.sign_ec_key import Signer
    from model_signing._signing.signing import Payload

    items = [
        manifest.FileManifestItem(
            path=PurePosixPath(each), digest=Digest("sha256", bytes.fromhex(digests[each]))
        )
        for each in sorted(digests)
    ]
    described = manifest.SerializationType.from_args(dict(SERIALIZATION))
    payload = Payload(manifest.Manifest(name, items, described))
    with key.as_file() as path:
        bundle = Signer(path).sign(payload).bundle
    return f"{bundle.to_json()}\n".encode()


def read_signature(data: bytes, keys: Sequence[PublicKey]) -> tuple[dict[str, str], PublicKey]:
    """What was signed: SHA-256 by file name; and who signed it.

    Raises:
        NotVerified: none of ``keys`` signed it, or it is no signature of whole files by SHA-256 without exceptions.
    """
    bundle = read_object(data, what=SIGNATURE)
    if bundle.get("mediaType") != BUNDLE:
        raise NotVerified(f"{SIGNATURE}: not a sigstore bundle of version 0.3")
    statement, key = unseal(bundle.get("dsseEnvelope"), keys, what=SIGNATURE)
    if statement.get("_type") != STATEMENT or statement.get("predicateType") != PREDICATE:
        raise NotVerified(f"{SIGNATURE}: signs something else than a model")
    return _digests(statement), key


def _digests(statement: dict[str, Any]) -> dict[str, str]:
    try:
        predicate = statement["predicate"]
        described = {**predicate["serialization"]}
        digests = {each["name"]: (each["algorithm"], each["digest"]) for each in predicate["resources"]}
        count = len(predicate["resources"])
        root = statement["subject"][0]["digest"]["sha256"]
    except (KeyError, TypeError, IndexError):
        raise NotVerified(f"{SIGNATURE}: not in the form of model signatures") from None
    if described != SERIALIZATION or len(digests) != count:
        # Another list of ignored paths would be a list of files that nobody vouches for.
        raise NotVerified(f"{SIGNATURE}: does not cover every file whole")
    total = hashlib.sha256()
    for name in sorted(digests, key=PurePosixPath):
        algorithm, digest = digests[name]
        if algorithm != "sha256" or not _is_sha256(digest):
            raise NotVerified(f"{SIGNATURE}: {name!r} has no SHA-256")
        total.update(bytes.fromhex(digest))
    if total.hexdigest() != root:
        raise NotVerified(f"{SIGNATURE}: its digests are not those that it sums up")
    return {name: digest for name, (_, digest) in digests.items()}


def _is_sha256(text: object) -> bool:
    return isinstance(text, str) and len(text) == 64 and not set(text) - set("0123456789abcdef")
