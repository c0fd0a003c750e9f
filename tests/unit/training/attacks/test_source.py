import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.attacks.source import MAX_CHARS
from training.attacks.source import MAX_SPANS
from training.attacks.source import Edit
from training.attacks.source import edit_source
from training.attacks.source import find_source
from training.attacks.source import first_source
from training.attacks.source import parse_source
from training.attacks.source import walk


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


def test_deep_nesting_is_walked_without_recursion() -> None:
    depth = 5_000
    source = parse_source(f"x = {'(' * depth}1{')' * depth}", "python")
    assert source is not None
    assert sum(node.type == "parenthesized_expression" for node in walk(source.root)) == depth
