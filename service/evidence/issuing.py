"""Writes the evidence of a verified result beside its hardened model. Every step may be repeated.

Everything but ``model.sig`` is the same each time, for it holds no time of ours and no chance: of two processes that
both believe they lead, neither spoils what the other has written.
"""

from typing import Final

from deploy.contract.document import sha256_hex
from deploy.contract.layout import model_prefix
from deploy.evidence.envelope import seal
from deploy.evidence.envelope import to_json
from deploy.evidence.error import NotVerified
from deploy.evidence.keys import SigningKey
from deploy.evidence.names import BILL
from deploy.evidence.names import CARD
from deploy.evidence.names import PROVENANCE
from deploy.evidence.names import REPORT
from deploy.evidence.names import SIGNATURE
from deploy.evidence.signature import sign_model
from deploy.evidence.verification import verify_documents
from deploy.store.protocol import ObjectStore
from service.evidence.bill import bill
from service.evidence.card import card
from service.evidence.origin import Origin
from service.evidence.statement import statement

ARM: Final = "hardened"
"""The one arm that evidence is made of: the others make no claim."""


def documents(origin: Origin, key: SigningKey) -> dict[str, bytes]:
    """The evidence of one model, by file name, in the order in which it is to be written."""
    made = {REPORT: origin.verified.report.to_bytes(), BILL: bill(origin), CARD: card(origin)}
    claims = statement(origin, {name: sha256_hex(data) for name, data in made.items()})
    made[PROVENANCE] = to_json(seal(claims, key))
    digests = {**origin.digests, **{name: sha256_hex(data) for name, data in made.items()}}
    made[SIGNATURE] = sign_model(origin.name, digests, key)
    return made


def issue(store: ObjectStore, origin: Origin, key: SigningKey) -> None:
    """Write the evidence of a result whose every byte was hashed.

    Raises:
        StoreError: the store failed; it may be tried again.
        NotVerified: what was made does not verify: a defect of this program, kept from everybody.
    """
    made = documents(origin, key)
    verdict = verify_documents(made, origin.digests, [key.public]).require().verdict
    if verdict != origin.verified.judgement.verdict:
        raise NotVerified(f"the evidence says {verdict}, the result {origin.verified.judgement.verdict}")
    result = origin.verified.result
    prefix = model_prefix(result.job_id, result.attempt, result.pod, ARM)
    for name, data in made.items():
        store.put(prefix + name, data)
