"""Which models an endpoint may serve: the policy of its user, within what the operator allows.

Only hardened models have verdicts and evidence. Whether the evidence holds is decided where the weights are fetched
(:mod:`deploy.endpoint.evidence`), each time anew; here is decided what cannot become right by looking again.
"""

from typing import Final

from deploy.contract.judgement import Verdict
from deploy.evidence.names import SIGNATURE
from deploy.evidence.policy import DEFAULT_VERDICTS
from deploy.evidence.policy import ServePolicy
from deploy.evidence.policy import Trust
from deploy.evidence.policy import listed
from deploy.store.protocol import ObjectStore
from service.endpoints.servable import Servable
from service.errors import Conflict
from service.errors import Forbidden
from service.evidence.keyring import Keyring
from service.evidence.settings import EvidenceSettings

ARM: Final = "hardened"


def check_policy(policy: ServePolicy | None, settings: EvidenceSettings) -> ServePolicy:
    """The policy of an endpoint; without one, pass and inconclusive as far as the operator allows them.

    Raises:
        Forbidden: it is wider than the operator allows.
    """
    if policy is None:
        return ServePolicy(verdicts=_within(DEFAULT_VERDICTS, settings) or settings.serve_verdicts)
    wider = [verdict for verdict in policy.verdicts if verdict not in settings.serve_verdicts]
    if wider:
        raise Forbidden(
            f"policy.verdicts: {wider[0]} is not allowed here, only {listed(settings.serve_verdicts)}.",
            code="verdict_not_accepted",
            param="policy.verdicts",
        )
    if not policy.signed and not settings.serve_unsigned:
        raise Forbidden(
            "policy.signed: this service serves hardened models with evidence only.",
            code="evidence_required",
            param="policy.signed",
        )
    return policy


def check_acceptance(
    servable: Servable,
    verdict: Verdict | None,
    policy: ServePolicy,
    settings: EvidenceSettings,
    *,
    model_id: str,
) -> None:
    """Refuse a model that would never be served.

    Args:
        servable: the model.
        verdict: of its job; None where it has none.
        policy: that :func:`check_policy` let pass.
        settings: the operator's.
        model_id: for the message.

    Raises:
        Forbidden: its arm is not served here.
        Conflict: its verdict is not accepted.
    """
    if servable.arm not in settings.serve_arms:
        raise Forbidden(
            f"{model_id!r} is a {servable.arm} model; this service serves {', '.join(settings.serve_arms)} models.",
            code="arm_not_served",
            param="model",
        )
    if servable.arm == ARM and verdict not in policy.verdicts:
        raise Conflict(
            f"The verdict on {model_id!r} is {verdict or 'unknown'}; the endpoint's policy accepts"
            f" {listed(policy.verdicts)}. Name the verdict in policy.verdicts to serve it nevertheless.",
            code="verdict_not_accepted",
            param="model",
        )


def expect_signature(servable: Servable, policy: ServePolicy, store: ObjectStore, *, model_id: str) -> None:
    """Refuse a hardened model that nobody signed; whether a signature holds is seen when it is served.

    Raises:
        Conflict: models of older versions have no evidence; the message says how it is issued.
        StoreError: the store cannot be asked.
    """
    if servable.arm != ARM or not policy.signed:
        return
    key = f"{servable.uri.removeprefix(store.uri).strip('/')}/{SIGNATURE}"
    if store.info(key) is None:
        raise Conflict(
            f"{model_id!r} has no evidence. POST /v1/models/{model_id}/evidence has its result hashed again and"
            " signed; try again when GET says that it is issued.",
            code="evidence_missing",
            param="model",
        )


def trust_of(
    servable: Servable, policy: ServePolicy | None, settings: EvidenceSettings, keyring: Keyring
) -> Trust | None:
    """What a server has to see proven. None where nothing is asked."""
    accepted = policy or check_policy(None, settings)
    if servable.arm != ARM or (not accepted.signed and settings.serve_unsigned):
        return None
    verdicts = _within(accepted.verdicts, settings)
    # What the operator has taken back since leaves nothing: then only what is still allowed is served.
    return Trust(verdicts=verdicts or settings.serve_verdicts, keys=keyring.pems)


def _within(verdicts: tuple[Verdict, ...], settings: EvidenceSettings) -> tuple[Verdict, ...]:
    return tuple(verdict for verdict in verdicts if verdict in settings.serve_verdicts)
