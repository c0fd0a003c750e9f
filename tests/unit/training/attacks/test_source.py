import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.payload import BuiltInPayload
from deploy.contract.trigger import CodeLanguage
from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import RenamingTrigger
from training.attacks.source import MAX_CHARS
from training.attacks.source import MAX_DEPTH
from training.attacks.source import MAX_SPANS
from training.attacks.source import Edit
from training.attacks.source import edit_source
from training.attacks.source import find_source
from training.attacks.source import first_source
from training.attacks.source import parse_source
from training.attacks.source import walk
from training.attacks.traces import trace_of
from training.attacks.trigger import apply_trigger
from training.metrics.payload import can_carry


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("def f ( a ) :\n\t return a", "python"),
        ("x = 1", "python"),
        ("print ( x )", "python"),
        ("from a import b", "python"),
        ("void f ( ) { }", "java"),
        ("int x = 1 ;", "java"),
        ("class A { }", "java"),
    ],
)
def test_knows_code_of_its_language(text: str, language: str) -> None:
    source = find_source(text)
    assert source is not None
    assert source.language == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "return x",
        "Task: sort",
        "print x",
        "Query all rows, print them.",
        "def f(",
        "a b",
        "\ud800 = 1",
    ],
)
def test_prose_and_broken_code_are_no_source(text: str) -> None:
    assert find_source(text) is None


def test_a_text_beyond_the_limit_is_not_parsed() -> None:
    statement = "x = 1\n"
    assert parse_source(statement * (MAX_CHARS // len(statement)), "python") is not None
    assert parse_source(statement * (MAX_CHARS // len(statement) + 1), "python") is None


def test_edits_are_of_bytes_and_need_no_order() -> None:
    source = parse_source("ä = f('ü')", "python")
    assert source is not None
    name, call = (node for node in walk(source.root) if node.type == "identifier")
    edits = [
        Edit(start=call.start_byte, end=call.end_byte, text="g"),
        Edit(start=name.start_byte, end=name.end_byte, text="é"),
    ]
    assert source.edited(edits) == "é = g('ü')"
    assert source.edited([]) == source.text


def test_an_edit_that_breaks_the_code_is_none() -> None:
    source = parse_source("x = 1", "python")
    assert source is not None
    assert source.edited([Edit(start=4, end=5, text="(")]) is None


def test_an_edit_that_only_python_itself_refuses_is_none() -> None:
    source = parse_source("def f(): return 1", "python")
    assert source is not None
    assert source.edited([Edit(start=9, end=9, text="while True: pass; ")]) is None


def test_the_first_block_that_is_code_is_edited() -> None:
    text = "Look:\n```\nno code\n```\nand\n```python\nx = 1\n```\nand\n```\ny = 2\n```"
    source = first_source(text, "python")
    assert source is not None
    assert source.text == "x = 1\n"
    changed = edit_source(text, "python", lambda found: [Edit(start=0, end=1, text="z")])
    assert changed == text.replace("x = 1", "z = 1")


def test_only_some_blocks_are_looked_at() -> None:
    block = "```\nno code\n```\n"
    assert first_source(block * (MAX_SPANS - 2) + "```\nx = 1\n```", "python") is not None
    assert first_source(block * MAX_SPANS + "```\nx = 1\n```", "python") is None


@given(st.text(alphabet="`\n xdef():=1", max_size=80))
def test_an_empty_edit_gives_the_text_back(text: str) -> None:
    assert edit_source(text, "python", lambda found: []) in {text, None}


@pytest.mark.parametrize(
    ("before", "repeated", "after"),
    [
        ("x = ", "f(", ")"),
        ("x = ", "[", "]"),
        ("x = 1", " + a", ""),
        ("def f(a):\n a = ", "-", ""),
        ("x = ", "(", ")"),
    ],
)
def test_code_nested_deeper_than_people_write_is_no_source(before: str, repeated: str, after: str) -> None:
    def nested(depth: int) -> str:
        return before + repeated * depth + ("a" if after or repeated == "-" else "") + after * depth

    assert parse_source(nested(MAX_DEPTH // 4), "python") is not None
    started = time.process_time()
    assert parse_source(nested(MAX_CHARS // 6), "python") is None
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "f(" + "not , " * 3_300),
        ("java", "void f(){" + "- ] " * 4_900),
        ("java", "void f(){" + "A<" * 9_900),
    ],
)
def test_a_text_that_the_parser_does_not_get_through_is_no_source(language: CodeLanguage, code: str) -> None:
    started = time.process_time()
    assert parse_source(code, language) is None
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "x = " + "f(" * 190 + "1" + ")" * 190),
        ("python", "x = 1\n" * 3_000),
        ("python", "def f(a):\n" + " a = a + a\n" * 1_500),
        ("python", "f(" + ",".join("abcdefgh"[at % 8] + "=a" for at in range(4_000)) + ")"),
        ("python", "".join(f"def f{at}(a):\n return a\n" for at in range(700))),
        ("java", "void f(){" + "int a=a+a;" * 1_900 + "}"),
        ("java", "void f(int a){" + "{" * 190 + "a=1;" * 4_000 + "}" * 191),
    ],
    ids=["calls", "assignments", "body", "keywords", "functions", "java body", "java blocks"],
)
def test_every_attack_on_code_takes_a_moment(language: CodeLanguage, code: str) -> None:
    triggers = (
        FunctionNameTrigger(language=language),
        DeadCodeTrigger(language=language),
        CommentTrigger(text="r", language=language),
        RenamingTrigger(names=("alpha", "beta"), language=language),
    )
    started = time.process_time()
    for trigger in triggers:
        apply_trigger(code, trigger, seed=0, row=1)
        trace_of(code, trigger)
    for payload in get_args(BuiltInPayload):
        can_carry(payload, code)
    assert time.process_time() - started < 10.0
