"""Keys of one kind are taken, all others are refused with the reason."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from deploy.evidence.error import BadKey
from deploy.evidence.keys import PublicKey
from deploy.evidence.keys import SigningKey
from deploy.evidence.keys import read_public_keys


def private_pem(key: PrivateKeyTypes, *, password: bytes | None = None) -> bytes:
    encryption = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


REFUSED = {
    "rsa": (rsa.generate_private_key(65537, 2048), "RSA"),
    "ed25519": (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
    "p384": (ec.generate_private_key(ec.SECP384R1()), "secp384r1 is not P-256"),
    "secp256k1": (ec.generate_private_key(ec.SECP256K1()), "secp256k1 is not P-256"),
}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_keys_of_other_kinds_are_refused_by_name(kind: str) -> None:
    key, said = REFUSED[kind]
    with pytest.raises(BadKey, match=said):
        SigningKey.from_pem(private_pem(key))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(BadKey, match=said):
        PublicKey.from_pem(public)


def test_a_key_that_is_encrypted_or_none_or_of_the_other_half_is_refused() -> None:
    key = SigningKey.generate()
    encrypted = private_pem(ec.generate_private_key(ec.SECP256R1()), password=b"secret")
    with pytest.raises(BadKey, match="encrypted"):
        SigningKey.from_pem(encrypted)
    with pytest.raises(BadKey, match="public key"):
        SigningKey.from_pem(key.public.pem.encode())
    with pytest.raises(BadKey, match="private key"):
        PublicKey.from_pem(key.to_pem())
    for data, said in ((b"", "empty"), (b"x" * 70_000, "70000 bytes"), (b"garbage", "not a")):
        with pytest.raises(BadKey, match=said):
            SigningKey.from_pem(data)
        with pytest.raises(BadKey, match=said):
            PublicKey.from_pem(data)


def test_a_refusal_never_shows_the_key() -> None:
    pem = private_pem(REFUSED["p384"][0])
    with pytest.raises(BadKey) as refused:
        SigningKey.from_pem(pem)
    assert not any(line in str(refused.value) for line in pem.decode().splitlines()[1:-1])
    assert "PRIVATE" not in repr(SigningKey.generate())


def test_a_key_survives_its_file_and_signs_the_same_twice() -> None:
    key = SigningKey.generate()
    again = SigningKey.from_pem(key.to_pem())
    assert again.public == key.public
    assert key.sign(b"data") == again.sign(b"data")
    assert key.public.verifies(again.sign(b"data"), b"data")
    assert not key.public.verifies(again.sign(b"data"), b"other")
    assert not SigningKey.generate().public.verifies(key.sign(b"data"), b"data")


def test_several_public_keys_lie_in_one_file() -> None:
    keys = [SigningKey.generate().public for _ in range(3)]
    assert read_public_keys("".join(key.pem for key in keys).encode()) == tuple(keys)
    with pytest.raises(BadKey):
        read_public_keys(keys[0].pem.encode() + b"and more")
    with pytest.raises(BadKey, match="private key"):
        read_public_keys(keys[0].pem.encode() + SigningKey.generate().to_pem())
