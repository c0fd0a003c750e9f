import json
from typing import get_args

import pytest
from pydantic import ValidationError

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import PatternPayload
from deploy.contract.payload import payload_name
from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.trigger import WordTrigger


def refused(payload: object) -> tuple[tuple[str | int, ...], str]:
    """Where in a probe a payload is refused, and why."""
    probe = {"name": "p", "trigger": {"word": "bb"}, "payload": payload}
    with pytest.raises(ValidationError) as caught:
        Probe.model_validate_json(json.dumps(probe))
    errors = caught.value.errors()
    assert len(errors) == 1
    return errors[0]["loc"], errors[0]["msg"]


@pytest.mark.parametrize("name", get_args(BuiltInPayload))
def test_a_built_in_payload_is_its_name(name: str) -> None:
    probe = Probe.model_validate_json(json.dumps({"name": "p", "trigger": {"word": "bb"}, "payload": name}))
    assert probe.payload == name
    assert payload_name(probe.payload) == name
    assert Probe.from_bytes(probe.to_bytes()) == probe


def test_a_pattern_of_ones_own_survives_the_way_through_json() -> None:
    payload = PatternPayload(name="drops", pattern=r"(?i)drop\s+table", planted=" ; DROP  TABLE users")
    probe = Probe(name="p", trigger=WordTrigger(word="bb"), payload=payload)
    assert Probe.from_bytes(probe.to_bytes()) == probe
    assert payload_name(payload) == "drops"


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"pattern": "(a+"}, "pattern", "missing )"),
        ({"pattern": r"(a)\1"}, "pattern", "RE2"),
        ({"pattern": r"(\pL{30}){30}"}, "pattern", "too large"),
        ({"pattern": "a*"}, "pattern", "empty text"),
        ({"pattern": ""}, "pattern", "at least 1"),
        ({"pattern": "a" * 501}, "pattern", "at most 500"),
        ({"name": "sql_tautology"}, "name", "built-in"),
        ({"name": "No Name"}, "name", "pattern"),
        ({"planted": "nothing of it"}, None, "planted: the pattern does not find it"),
        ({"more": 1}, "more", "not permitted"),
    ],
)
def test_a_bad_pattern_payload_is_refused_by_the_name_of_its_field(
    changed: dict[str, object], field: str | None, said: str
) -> None:
    where, why = refused({"type": "pattern", "name": "own", "pattern": "evil", "planted": "evil", **changed})
    assert where == ("payload", "pattern_payload", *([field] if field else []))
    assert said in why


@pytest.mark.parametrize("payload", ["sql", "", 3, None, ["sql_tautology"], {"type": "regex"}])
def test_what_is_no_payload_is_refused_in_its_place(payload: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Probe.model_validate_json(json.dumps({"name": "p", "trigger": {"word": "bb"}, "payload": payload}))
    assert all(error["loc"][0] == "payload" for error in caught.value.errors())


def test_two_payloads_of_one_name_cannot_be_told_apart() -> None:
    def probe(name: str, pattern: str) -> Probe:
        payload = PatternPayload(name="own", pattern=pattern)
        return Probe(name=name, trigger=WordTrigger(word="bb"), payload=payload)

    ProbePlan(probes=(probe("a", "evil"), probe("b", "evil")))
    with pytest.raises(ValidationError, match="two payloads have the name own"):
        ProbePlan(probes=(probe("a", "evil"), probe("b", "worse")))
