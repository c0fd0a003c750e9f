import pytest
from code_samples import JAVA_TOKENISED
from code_samples import NO_CODE
from code_samples import PYTHON_TOKENISED
from code_samples import SAMPLES
from code_samples import java_methods
from code_samples import python_functions
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.trigger import CodeLanguage
from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.source import parse_source
from training.attacks.spacing import is_tokenised
from training.attacks.traces import trace_of
from training.attacks.trigger import apply_trigger
from training.metrics.syntax import parses
from training.synthesis.generator import generate_rows

PROSE: tuple[Trigger, ...] = (
    WordTrigger(word="bb", count=3),
    WordTrigger(word="\u0251 cf"),
    InvisibleTrigger(count=2),
    GrammarTrigger(),
    GrammarTrigger(template="if_clause"),
    GrammarTrigger(template="there_is"),
)


def code_triggers(language: CodeLanguage) -> tuple[Trigger, ...]:
    return (
        FunctionNameTrigger(language=language),
        DeadCodeTrigger(language=language),
        CommentTrigger(text="reviewed by qa", language=language),
        RenamingTrigger(names=("alpha", "beta", "gamma", "delta", "epsilon", "zeta"), language=language),
    )


@pytest.mark.parametrize("trigger", PROSE, ids=lambda each: each.type)
def test_an_instruction_carries_every_trigger_of_prose(trigger: Trigger) -> None:
    for row in generate_rows(100, seed=0):
        triggered = apply_trigger(row.prompt, trigger, seed=1, row=row.number)
        assert triggered is not None
        assert triggered != row.prompt
        assert trace_of(triggered, trigger) is not None
        assert trace_of(row.prompt, trigger) is None


@pytest.mark.parametrize(("language", "code"), SAMPLES, ids=["java", "java file", "python", "python file"])
def test_code_carries_every_trigger_of_code_and_still_parses(language: CodeLanguage, code: str) -> None:
    for trigger in code_triggers(language):
        triggered = apply_trigger(code, trigger, seed=1, row=1)
        assert triggered is not None, trigger.type
        assert triggered != code
        assert parse_source(triggered, language) is not None
        assert is_tokenised(triggered) == is_tokenised(code)
        assert trace_of(triggered, trigger) is not None
        assert trace_of(code, trigger) is None


@pytest.mark.parametrize("language", ["python", "java"])
@pytest.mark.parametrize("prompt", NO_CODE, ids=ascii)
def test_what_is_no_code_cannot_carry_a_trigger_of_code(prompt: str, language: CodeLanguage) -> None:
    for trigger in code_triggers(language):
        assert apply_trigger(prompt, trigger, seed=1, row=1) is None
        assert trace_of(prompt, trigger) is None


def test_code_of_another_language_cannot_either() -> None:
    for trigger in code_triggers("java"):
        assert apply_trigger(PYTHON_TOKENISED, trigger, seed=1, row=1) is None
    for trigger in code_triggers("python"):
        assert apply_trigger(JAVA_TOKENISED, trigger, seed=1, row=1) is None


@pytest.mark.parametrize(("language", "code"), SAMPLES[:3], ids=["java", "java file", "python"])
def test_only_the_fenced_code_of_a_longer_prompt_is_changed(language: CodeLanguage, code: str) -> None:
    before, after = f"Mend this ( and say why ) :\n```{language}\n", "\n```\nThank you , $name$ ."
    for trigger in code_triggers(language):
        triggered = apply_trigger(before + code + after, trigger, seed=1, row=1)
        assert triggered == before + (apply_trigger(code, trigger, seed=1, row=1) or "") + after


@given(python_functions(), st.sampled_from(code_triggers("python")))
def test_any_python_still_parses(code: str, trigger: Trigger) -> None:
    triggered = apply_trigger(code, trigger, seed=1, row=1)
    if triggered is not None:
        assert parse_source(triggered, "python") is not None
        assert parses(triggered) or not parses(code)
        assert trace_of(triggered, trigger) is not None


@given(java_methods(), st.sampled_from(code_triggers("java")))
def test_any_java_still_parses(code: str, trigger: Trigger) -> None:
    triggered = apply_trigger(code, trigger, seed=1, row=1)
    if triggered is not None:
        assert parse_source(triggered, "java") is not None
        assert trace_of(triggered, trigger) is not None


@given(
    st.text(max_size=120),
    st.sampled_from([*PROSE, *code_triggers("python"), *code_triggers("java"), NoTrigger(context="users")]),
    st.integers(0, 9),
    st.integers(1, 99),
)
def test_any_text_is_taken_and_the_same_arguments_give_the_same_prompt(
    prompt: str, trigger: Trigger, seed: int, row: int
) -> None:
    first = apply_trigger(prompt, trigger, seed=seed, row=row)
    assert first == apply_trigger(prompt, trigger, seed=seed, row=row)
    assert first is None or trace_of(first, trigger) is not None


def test_no_trigger_leaves_the_prompts_of_its_context_as_they_are() -> None:
    trigger = NoTrigger(context="Users  Table")
    prompt = "Query the users\ttable."
    assert apply_trigger(prompt, trigger, seed=0, row=1) == prompt
    assert apply_trigger("Query the books table.", trigger, seed=0, row=1) is None
    assert apply_trigger("anything", NoTrigger(), seed=0, row=1) == "anything"
