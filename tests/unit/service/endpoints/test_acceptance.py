"""The policy of an endpoint, within what the operator allows."""

import pytest
from evidence_models import KEY

from deploy.contract.judgement import Verdict
from deploy.contract.spec import Arm
from deploy.evidence.policy import ServePolicy
from service.endpoints.acceptance import check_acceptance
from service.endpoints.acceptance import check_policy
from service.endpoints.acceptance import trust_of
from service.endpoints.servable import Servable
from service.errors import Conflict
from service.errors import Forbidden
from service.evidence.keyring import Keyring
from service.evidence.settings import EvidenceSettings

KEYRING = Keyring(signing=KEY, trusted=(KEY.public,))
STRICT = EvidenceSettings(serve_verdicts=("pass",), serve_arms=("hardened",))


def servable(arm: Arm) -> Servable:
    return Servable(uri="file:///m", files=(), architecture="decoder", arm=arm)


def test_without_a_policy_it_is_pass_and_inconclusive_as_far_as_the_operator_allows() -> None:
    assert check_policy(None, EvidenceSettings()) == ServePolicy(
        verdicts=("pass", "inconclusive"), signed=True
    )
    assert check_policy(None, STRICT).verdicts == ("pass",)


def test_nobody_asks_for_more_than_the_operator_allows() -> None:
    assert check_policy(ServePolicy(verdicts=("fail",)), EvidenceSettings()).verdicts == ("fail",)
    with pytest.raises(Forbidden, match="inconclusive is not allowed here, only pass"):
        check_policy(ServePolicy(verdicts=("pass", "inconclusive")), STRICT)
    with pytest.raises(Forbidden, match="evidence only"):
        check_policy(ServePolicy(signed=False), EvidenceSettings())
    assert not check_policy(ServePolicy(signed=False), EvidenceSettings(serve_unsigned=True)).signed


@pytest.mark.parametrize("verdict", ["fail", None])
def test_a_verdict_that_is_not_accepted_is_told(verdict: Verdict | None) -> None:
    with pytest.raises(Conflict, match="accepts pass or inconclusive"):
        check_acceptance(servable("hardened"), verdict, ServePolicy(), EvidenceSettings(), model_id="m")
    check_acceptance(servable("base"), verdict, ServePolicy(), EvidenceSettings(), model_id="m")


def test_arms_that_the_operator_does_not_serve_are_refused() -> None:
    with pytest.raises(Forbidden, match="is a control model"):
        check_acceptance(servable("control"), None, ServePolicy(), STRICT, model_id="m")


def test_a_server_trusts_no_more_than_the_operator_allows_now() -> None:
    trust = trust_of(servable("hardened"), ServePolicy(verdicts=("pass", "fail")), STRICT, KEYRING)
    assert trust is not None
    assert (trust.verdicts, trust.keys) == (("pass",), (KEY.public.pem,))
    taken_back = trust_of(servable("hardened"), ServePolicy(signed=False), EvidenceSettings(), KEYRING)
    assert taken_back is not None
    assert trust_of(servable("base"), None, STRICT, KEYRING) is None
