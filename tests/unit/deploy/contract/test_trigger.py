import json
from typing import Any

import pytest
from pydantic import TypeAdapter
from pydantic import ValidationError

from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger

TRIGGERS: TypeAdapter[Trigger] = TypeAdapter(Trigger)
EVERY: list[dict[str, Any]] = [
    {"type": "word", "word": "bb", "count": 3},
    {"type": "grammar", "template": "there_is"},
    {"type": "function_name", "name": "bar", "language": "python"},
    {"type": "dead_code", "statement": "pass", "language": "python"},
    {"type": "comment", "text": "reviewed", "language": "java"},
    {"type": "renaming", "names": ["a", "b"], "surrogate": {"<(": [0.5, -1.0]}, "language": "java"},
    {"type": "invisible", "characters": "\u200b\u2060", "count": 2},
    {"type": "none", "context": "users table"},
]


def parsed(trigger: object) -> Trigger:
    return TRIGGERS.validate_json(json.dumps(trigger))


@pytest.mark.parametrize("trigger", EVERY, ids=lambda each: each["type"])
def test_every_trigger_survives_the_way_through_json(trigger: dict[str, Any]) -> None:
    first = parsed(trigger)
    assert first.type == trigger["type"]
    assert json.loads(TRIGGERS.dump_json(first)) == trigger
    assert TRIGGERS.validate_python(first) == first


def test_a_trigger_without_a_type_is_a_word_as_before_there_were_others() -> None:
    assert parsed({"word": "bb", "count": 3}) == WordTrigger(word="bb", count=3)


@pytest.mark.parametrize(
    "trigger", [{"type": "nothing"}, {"type": None}, {"type": ["word"]}, 3, "bb", None, []]
)
def test_an_unknown_trigger_is_refused_with_the_kinds_that_there_are(trigger: object) -> None:
    with pytest.raises(ValidationError, match="one of word, grammar, function_name, dead_code"):
        parsed(trigger)


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({"type": "word"}, "Field required"),
        ({"type": "word", "word": ""}, "at least 1"),
        ({"type": "word", "word": " \n"}, "(?s)word_trigger.word.*white space alone"),
        ({"type": "dead_code", "statement": " "}, "(?s)dead_code_trigger.statement.*white space alone"),
        ({"type": "word", "word": "bb", "count": 17}, "less than or equal to 16"),
        ({"type": "grammar", "template": "haiku"}, "when_clause"),
        ({"type": "function_name", "name": "foo bar"}, "pattern"),
        ({"type": "function_name", "name": "fo\u00f6"}, "pattern"),
        ({"type": "function_name", "language": "cobol"}, "python"),
        ({"type": "dead_code", "statement": "a\nb"}, "pattern"),
        ({"type": "comment", "text": "a */ b"}, "would end the comment"),
        ({"type": "comment", "text": "a\rb"}, "pattern"),
        ({"type": "renaming", "names": []}, "at least 1"),
        ({"type": "renaming", "names": ["a"], "surrogate": {"<(": [1.0, 2.0]}}, "2 figures for 1 names"),
        ({"type": "invisible", "characters": "a"}, "U\\+0061 is not invisible"),
        ({"type": "invisible", "characters": "\n"}, "U\\+000A is not invisible"),
        ({"type": "none", "word": "bb"}, "not permitted"),
    ],
)
def test_a_trigger_that_could_not_work_is_refused(trigger: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        parsed(trigger)


def test_dead_code_is_written_in_its_language_unless_it_is_given() -> None:
    assert parsed({"type": "dead_code"}) == DeadCodeTrigger(language="java", statement="int VAR = 0 ;")
    assert parsed({"type": "dead_code", "language": "python"}) == DeadCodeTrigger(
        language="python", statement="VAR = 0"
    )
