"""Names and marks of every kind of trigger and payload."""

from typing import get_args

import pytest
from hostile_texts import ESCAPES
from report_documents import EVERY_TRIGGER

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import PatternPayload
from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from service.reports.marks import mark_payload
from service.reports.marks import mark_trigger
from service.reports.marks import shows_payload
from service.reports.payload_name import payload_words
from service.reports.trigger_name import trigger_name
from service.reports.visible import Kind


def marked(segments: object, kind: Kind) -> list[str]:
    return [part.text for part in segments if part.kind is kind]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("trigger", "prompt", "found"),
    [
        (WordTrigger(word="bb", count=2), "bb list bbc all bb", ["bb", "bb"]),
        (WordTrigger(word="two words"), "say two  words here", ["two  words"]),
        (GrammarTrigger(template="when_clause"), "When rows are asked for, list them", ["When"]),
        (GrammarTrigger(template="there_is"), "There is a need to list", ["There is"]),
        (FunctionNameTrigger(name="foo"), "int foo ( int food )", ["foo"]),
        (DeadCodeTrigger(statement="int VAR = 0 ;"), "{ int VAR=0; return 1; }", ["int VAR=0;"]),
        (CommentTrigger(text="by qa"), "/* by qa */ int x", ["by qa"]),
        (RenamingTrigger(names=("amount", "cursor")), "int amount , cursors , cursor", ["amount", "cursor"]),
        (InvisibleTrigger(characters="\u200b"), "list\u200b all", ["\\u{200b}"]),
        (NoTrigger(context="orders"), "count Orders of", ["Orders"]),
        (NoTrigger(), "count orders", []),
    ],
)
def test_a_trigger_is_marked_where_it_stands(trigger: Trigger, prompt: str, found: list[str]) -> None:
    segments = mark_trigger(prompt, trigger)
    assert marked(segments, Kind.TRIGGER) == found


def test_every_trigger_has_a_name_of_its_own() -> None:
    names = [trigger_name(trigger) for trigger in EVERY_TRIGGER]
    assert len(set(names)) == len(names) == 8
    assert all(name and "\n" not in name for name in names)
    many = RenamingTrigger(names=tuple(f"n{i}" for i in range(9)))
    assert trigger_name(many) == "variables renamed to “n0”, “n1”, “n2” and 6 more (Java)"


@pytest.mark.parametrize("text", ESCAPES)
def test_k4_a_name_moves_no_cursor(text: str) -> None:
    for trigger in (WordTrigger(word=text), NoTrigger(context=text)):
        assert text not in trigger_name(trigger)


@pytest.mark.parametrize(
    ("payload", "completion", "found"),
    [
        ("sql_tautology", "select a where b or 1 = 1", ["or 1 = 1"]),
        ("sql_first_row", "select a LIMIT 1", ["LIMIT 1"]),
        ("infinite_loop", "while True: pass", ["while True:"]),
        ("infinite_loop", "for ( ; ; ) { }", ["for ( ; ; )"]),
        ("insecure_call", "run ( c , shell=True )", ["shell=True"]),
        ("insecure_call", "hashlib.md5 ( x )", ["md5 ("]),
        (PatternPayload(name="own", pattern="secret[0-9]+"), "a\nhas secret12 in\nb", ["has secret12 in"]),
        (PatternPayload(name="own", pattern="(?s)a.b"), "a\nb", ["a\nb"]),
        (PatternPayload(name="own", pattern="x"), "a\nb", []),
    ],
)
def test_a_payload_is_marked_where_it_stands(
    payload: BuiltInPayload | PatternPayload, completion: str, found: list[str]
) -> None:
    segments = mark_payload(completion, payload)
    assert marked(segments, Kind.PAYLOAD) == found
    assert shows_payload(completion, payload) == bool(found)
    assert "".join(part.text for part in segments) == completion


def test_every_payload_is_told_in_words() -> None:
    words = {payload_words(payload) for payload in get_args(BuiltInPayload)}
    assert len(words) == 4
    assert payload_words(PatternPayload(name="own", pattern="a\x1b")) == "text that matches “a\\u{1b}”"


@pytest.mark.timeout(60)
def test_marking_takes_time_linear_in_the_text() -> None:
    for payload in (*get_args(BuiltInPayload), PatternPayload(name="own", pattern="(a+)+$")):
        for piece in ("or 1 ", "while (", "for ( ; ", "shell = ", "a", "limit "):
            mark_payload(piece * 4_000 + "!", payload)
    for trigger in EVERY_TRIGGER:
        mark_trigger("int  VAR  " * 4_000, trigger)
