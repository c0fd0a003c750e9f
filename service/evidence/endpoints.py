"""Routes of evidence: the keys to verify it with, and the evidence of one model."""

from fastapi import APIRouter

from service.auth import Caller
from service.auth import requires
from service.context import ContextDep
from service.evidence import service
from service.evidence.schemas import EvidenceView
from service.evidence.schemas import PublicKeyList

router = APIRouter(tags=["evidence"], dependencies=[requires("train")])
well_known = APIRouter(tags=["evidence"])
"""Outside of ``/v1`` and open to all: what it tells is public."""


@router.get("/evidence/keys")
def list_keys(context: ContextDep) -> PublicKeyList:
    """Public keys that evidence is verified with: the one that signs now, then those that did before."""
    return service.list_keys(context.store)


@well_known.get("/.well-known/temper-signing-keys")
def list_keys_openly(context: ContextDep) -> PublicKeyList:
    """The same, for whoever verifies without an API key."""
    return service.list_keys(context.store)


@router.get("/models/{model:path}/evidence")
def retrieve(model: str, context: ContextDep, caller: Caller) -> EvidenceView:
    """Whether a hardened model has evidence, and where it lies."""
    return service.get_evidence(context, caller.project, model)


@router.post("/models/{model:path}/evidence")
def issue(model: str, context: ContextDep, caller: Caller) -> EvidenceView:
    """Have the result of a hardened model hashed again and signed: for models of older versions, or after a new key."""
    return service.request(context, caller.project, model)
