"""Keys that sign evidence: ECDSA on P-256, as PEM. Nothing else is taken.

Covers: keys of other kinds and curves, encrypted ones, a public key where a private one belongs and the other way
round. Does not cover: who may read the file of a private key.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.evidence.error import BadKey

CURVE: Final = "secp256r1"
MAX_PEM_BYTES: Final = 64 << 10
_BEGIN_PUBLIC: Final = b"-----BEGIN PUBLIC KEY-----"
_END_PUBLIC: Final = b"-----END PUBLIC KEY-----"


class PublicKey:
    """Verifies what its private key has signed."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self.pem: Final = key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
        self.id: Final = hashlib.sha256(self.pem.encode()).hexdigest()
        """SHA-256 of the PEM, which is how model signatures name a key too."""

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Read one key. Raises BadKey."""
        _refuse_odd(data)
        if b"PRIVATE KEY-----" in data:
            raise BadKey("this is a private key; give the public one, and keep this one to the signer")
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            raise BadKey("not a public key in PEM") from None
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise BadKey(f"{_kind(key)} is not a key for ECDSA on P-256 ({CURVE})")
        _check_curve(key.curve)
        return cls(key)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether the private key made this signature of ``data``."""
        try:
            self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.pem == self.pem

    def __hash__(self) -> int:
        return hash(self.pem)

    def __repr__(self) -> str:
        return f"PublicKey({self.id[:16]})"


class SigningKey:
    """Signs evidence. Its text is never shown."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public: Final = PublicKey(key.public_key())

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Read a key. Raises BadKey."""
        _refuse_odd(data)
        if _BEGIN_PUBLIC in data:
            raise BadKey("this is a public key; nothing can be signed with it")
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except TypeError:
            raise BadKey("the private key is encrypted; give it without a password") from None
        except (ValueError, UnsupportedAlgorithm):
            raise BadKey("not a private key in PEM") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise BadKey(f"{_kind(key)} is not a key for ECDSA on P-256 ({CURVE})")
        _check_curve(key.curve)
        return cls(key)

    @classmethod
    def generate(cls) -> Self:
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def to_pem(self) -> bytes:
        """PKCS #8, not encrypted."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, data: bytes) -> bytes:
        """The signature of ``data``, in DER; the same data always gives the same one (RFC 6979).

        So two processes that both believe they lead write the same statement, and neither spoils the other's.
        """
        return self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """The key under a path that exists in this process's memory alone, for libraries that want a path."""
        descriptor = os.memfd_create("signing-key", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, self.to_pem())
            yield Path(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


def read_public_keys(data: bytes) -> tuple[PublicKey, ...]:
    """Every public key of a file; at least one. Raises BadKey."""
    _refuse_odd(data)
    parts = data.split(_END_PUBLIC)
    keys = [PublicKey.from_pem(part + _END_PUBLIC + b"\n") for part in parts[:-1]]
    if not keys or parts[-1].strip():
        return (PublicKey.from_pem(data if not keys else parts[-1]),)
    return tuple(dict.fromkeys(keys))


def _refuse_odd(data: bytes) -> None:
    if not data.strip():
        raise BadKey("the file is empty")
    if len(data) > MAX_PEM_BYTES:
        raise BadKey(f"the file has {len(data)} bytes, a key has fewer than {MAX_PEM_BYTES}")


def _check_curve(curve: ec.EllipticCurve) -> None:
    if curve.name != CURVE:
        raise BadKey(f"the curve {curve.name} is not P-256 ({CURVE})")


def _kind(key: object) -> str:
    return f"a key of the kind {type(key).__name__.strip('_').removesuffix('PublicKey').removesuffix('PrivateKey')}"
