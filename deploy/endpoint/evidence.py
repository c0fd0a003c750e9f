"""Whether a hardened model may be served: its evidence, fetched anew from where its weights lie."""

from deploy.contract.document import StoredFile
from deploy.evidence.error import BadKey
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import PublicKey
from deploy.evidence.policy import AcceptancePolicy
from deploy.evidence.policy import Trust
from deploy.evidence.sources import read_documents
from deploy.evidence.verification import accepts
from deploy.evidence.verification import verify_documents
from deploy.store.protocol import ObjectStore


def expect_evidence(store: ObjectStore, files: tuple[StoredFile, ...], trust: Trust) -> str:
    """Verify the evidence of a model; returns its verdict.

    Args:
        store: whose root is the directory of the model.
        files: of the model, as they will be served: each is hashed when it is fetched.
        trust: whose signature, and which verdicts, are accepted.

    Raises:
        NotVerified: the evidence does not hold, or its verdict is not accepted; the message says which.
        StoreError: it cannot be read.
    """
    try:
        keys = [PublicKey.from_pem(pem.encode()) for pem in trust.keys]
    except BadKey as error:
        raise NotVerified(f"the key to verify it with cannot be used: {error}") from error
    found = verify_documents(read_documents(store), {file.name: file.sha256 for file in files}, keys)
    judgement = found.require()
    accepted = accepts(AcceptancePolicy(verdicts=trust.verdicts), judgement)
    if not accepted.holds:
        raise NotVerified(accepted.said)
    return judgement.verdict
