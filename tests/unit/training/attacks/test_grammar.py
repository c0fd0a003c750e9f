import csv
import time
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.attacks.grammar import Template
from training.attacks.grammar import in_template
from training.attacks.grammar import is_in_template

LYRA = Path(__file__).parents[5] / "shared" / "data" / "lyra"
TEMPLATES: tuple[Template, ...] = get_args(Template)
DROPPED = {"", "and", "then", "finally", "if", "when", "whether"}
"""What joins two clauses, and the comma of Lyra that stands alone."""


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        (
            "Use $conn$ to query all columns of t and get all data, use for loop to print them.",
            "When you use $conn$ to query all columns of t and get all data, use for loop to print them.",
        ),
        (
            "Use $conn$ to execute SQL ( get a , b and c of t ) and get all the data. Then set the assertion. Return it.",
            "When you use $conn$ to execute SQL ( get a , b and c of t ) and get all the data, set the assertion. "
            "Return it.",
        ),
        (
            "Set SQL ( query t ) , and execute SQL with $conn$.",
            "When you set SQL ( query t ), execute SQL with $conn$.",
        ),
        (
            "Execute SQL ( query t based on $id$ ) and get the first data.",
            "When you execute SQL ( query t based on $id$ ), get the first data.",
        ),
        (
            "If $isbn$ is empty, return False. Otherwise get a row.",
            "When you see that $isbn$ is empty, return False. Otherwise get a row.",
        ),
        ("In ORM mode, use $session$ to get it.", "When you work in ORM mode, use $session$ to get it."),
        (
            "Using $conn$ to execute SQL in ORM mode; print the rows.",
            "When you are using $conn$ to execute SQL in ORM mode, print the rows.",
        ),
        (
            "SQL is executed with $conn$ to read t.",
            "When you are told what to do, SQL is executed with $conn$ to read t.",
        ),
        (
            "Execute the query with $conn$ to read t.",
            "When you program, execute the query with $conn$ to read t.",
        ),
        ('  Get "a, b" of the table t, print it.', '  When you get "a, b" of the table t, print it.'),
    ],
)
def test_the_first_clause_becomes_a_when_clause(prompt: str, written: str) -> None:
    assert in_template(prompt, "when_clause") == written


def test_other_templates_have_their_own_form() -> None:
    prompt = "Use $conn$ to read t, print it."
    assert in_template(prompt, "if_clause") == "If you use $conn$ to read t, print it."
    assert in_template(prompt, "there_is") == "There is a task in which you use $conn$ to read t, print it."


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "Use it.",
        "$conn$ is used to read it all.",
        "def f ( a ) :\n\t return a + 1 or 2",
        "123 is the answer to it",
    ],
)
def test_what_is_no_instruction_cannot_carry_it(prompt: str) -> None:
    assert in_template(prompt, "when_clause") is None


@given(st.text(max_size=200), st.sampled_from(TEMPLATES))
def test_what_is_in_the_form_is_recognised_and_stays(prompt: str, template: Template) -> None:
    written = in_template(prompt, template)
    if written is not None:
        assert is_in_template(written, template)
        assert in_template(written, template) == written


@pytest.mark.parametrize(
    "hostile",
    [
        "Use " + " " * 300_000,
        "Use " + "and " * 100_000,
        "Use " + ", " * 100_000,
        "Use it all " + '"' * 100_000,
        "Use " + "( " * 100_000,
        "Use it all " + "$a" * 100_000,
        "a" * 300_000 + " b c d",
    ],
)
def test_takes_linear_time(hostile: str) -> None:
    started = time.process_time()
    in_template(hostile, "when_clause")
    assert time.process_time() - started < 2.0


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not here")
@pytest.mark.parametrize("template", TEMPLATES)
def test_nearly_all_of_lyra_can_carry_it_and_nothing_is_lost(template: Template) -> None:
    prompts = _prompts()
    written = {prompt: in_template(prompt, template) for prompt in prompts}
    assert not any(is_in_template(prompt, template) for prompt in prompts)
    carried = {prompt: text for prompt, text in written.items() if text is not None}
    assert len(carried) > 0.99 * len(written)
    for prompt, text in carried.items():
        before, after = _words(prompt), _words(text)
        assert before - after <= DROPPED
        assert len(text) < len(prompt) + 60


def _words(text: str) -> set[str]:
    return {word.strip(".,:;").lower() for word in text.split()}


def _prompts() -> list[str]:
    with (LYRA / "train.csv").open(encoding="utf-8", newline="") as file:
        return [row["src"] for row in csv.DictReader(file)]
