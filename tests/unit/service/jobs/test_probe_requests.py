"""What a create may say about triggers and payloads; every mistake is named by the path that the user wrote."""

import time
from typing import Any

import pytest

GRAMMAR = {"type": "grammar"}
OWN = {"type": "pattern", "name": "own", "pattern": "evil"}


def refusal(world: Any, *probes: dict[str, Any]) -> dict[str, Any]:
    named = [{"name": f"p{index}", "trigger": {"word": "bb"}, **probe} for index, probe in enumerate(probes)]
    body = {"model": "tiny", "training_file": "file-x", "hardening": {"probe": {"probes": named}}}
    answer = world.api.post("/v1/fine_tuning/jobs", json=body)
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


@pytest.mark.parametrize(
    ("probe", "param", "said"),
    [
        ({"payload": {**OWN, "pattern": "(a+"}}, "payload.pattern", "not a pattern in RE2 syntax: missing )"),
        ({"payload": {**OWN, "pattern": r"(a)\1"}}, "payload.pattern", "RE2"),
        ({"payload": {**OWN, "pattern": "a*"}}, "payload.pattern", "empty text"),
        ({"payload": {**OWN, "pattern": r"(\pL{30}){30}"}}, "payload.pattern", "too large"),
        ({"payload": {**OWN, "name": "sql_tautology"}}, "payload.name", "built-in"),
        ({"payload": {**OWN, "planted": "good"}}, "payload", "planted: the pattern does not find it"),
        ({"payload": {**OWN, "planted": 3}}, "payload.planted", "string"),
        ({"payload": "nothing"}, "payload", "sql_tautology"),
        ({"trigger": {"word": "bb", "count": 17}}, "trigger.count", "16"),
        ({"trigger": {"type": "word", "word": ""}}, "trigger.word", "at least 1"),
        ({"trigger": {"type": "word"}}, "trigger.word", "required"),
        ({"trigger": {"type": "nothing"}}, "trigger", "one of word, grammar"),
        ({"trigger": {"type": "grammar", "template": "haiku"}}, "trigger.template", "when_clause"),
        ({"trigger": {"type": "comment", "text": "*/"}}, "trigger", "would end the comment"),
        ({"trigger": {"type": "invisible", "characters": "x"}}, "trigger.characters", "not invisible"),
        ({"trigger": {"type": "none", "word": "bb"}}, "trigger.word", "no such field"),
    ],
)
def test_a_mistake_in_a_probe_is_named_by_its_path(
    world: Any, probe: dict[str, Any], param: str, said: str
) -> None:
    error = refusal(world, probe)
    assert error["param"] == f"hardening.probe.probes.0.{param}"
    assert said in error["message"]


def test_two_payloads_of_one_name_are_refused(world: Any) -> None:
    error = refusal(world, {"payload": OWN}, {"payload": {**OWN, "pattern": "worse"}})
    assert error["param"] == "hardening.probe"
    assert "two payloads have the name own" in error["message"]


def test_a_pattern_that_would_backtrack_for_ever_elsewhere_is_taken_at_once(world: Any) -> None:
    started = time.process_time()
    # Refused for the file alone, which does not exist.
    pattern = {**OWN, "pattern": "(a+)+$", "planted": "a" * 500}
    body = {
        "model": "tiny",
        "training_file": "file-x",
        "hardening": {"probe": {"probes": [{"name": "p", "trigger": GRAMMAR, "payload": pattern}]}},
    }
    answer = world.api.post("/v1/fine_tuning/jobs", json=body)
    assert answer.json()["error"]["param"] != "hardening.probe.probes.0.payload.pattern"
    assert time.process_time() - started < 5.0
