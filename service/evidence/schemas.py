"""Answers about evidence."""

from typing import Literal

from pydantic import BaseModel

from deploy.contract.judgement import Verdict


class PublicKeyView(BaseModel):
    """A key that evidence is verified with."""

    id: str
    """SHA-256 of the PEM."""
    object: Literal["evidence.key"] = "evidence.key"
    active: bool
    """Whether it signs now; the others did before."""
    algorithm: Literal["ECDSA-P256-SHA256"] = "ECDSA-P256-SHA256"
    pem: str


class PublicKeyList(BaseModel):
    """Every key that ever signed, the one that signs now first."""

    object: Literal["list"] = "list"
    data: list[PublicKeyView]


class EvidenceView(BaseModel):
    """``model.evidence``: what proves where a hardened model comes from."""

    object: Literal["model.evidence"] = "model.evidence"
    model: str
    status: Literal["issued", "requested", "missing"]
    verdict: Verdict | None
    uri: str
    """Where the model lies with its evidence: ``temper verify`` takes it."""
    files: list[str]
    """Of the evidence, those that are there."""
