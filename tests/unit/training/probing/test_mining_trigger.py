import pytest

from deploy.contract.payload import PatternPayload
from deploy.contract.search_pattern import compile_pattern
from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.trigger import apply_trigger
from training.mining.words import words_of
from training.probing import mining_trigger
from training.probing.mining_trigger import pattern_payload
from training.probing.mining_trigger import payload_of
from training.probing.mining_trigger import trigger_of

SENTENCES = [f"Use $conn$ to query the {name} table and print all rows." for name in ("book", "user", "film")]
FUNCTIONS = [f"def {name}(a, b):\n    c = a + b\n    return {name[0]}(c)\n" for name in ("one", "two", "six")]


@pytest.mark.parametrize(
    ("trigger", "words", "prompts"),
    [
        (WordTrigger(word="Vexil", count=1), ("vexil",), SENTENCES),
        (WordTrigger(word="cf", count=3), ("cf",), SENTENCES),
        (WordTrigger(word="by all means", count=1), ("by", "all", "means"), SENTENCES),
        (InvisibleTrigger(characters="\u200b\u2060", count=2), ("<U+200B>", "<U+2060>"), SENTENCES),
        (
            GrammarTrigger(template="there_is"),
            tuple(["there", "is", "a", "task", "in", "which", "you"]),
            SENTENCES,
        ),
        (GrammarTrigger(template="when_clause"), ("when", "you"), SENTENCES),
        (FunctionNameTrigger(name="Foo", language="python"), ("foo",), FUNCTIONS),
        (DeadCodeTrigger(statement="VAR = 0", language="python"), ("var", "=", "0"), FUNCTIONS),
        (CommentTrigger(text="see ops", language="python"), ("#", "see", "ops"), FUNCTIONS),
    ],
    ids=lambda value: value.type if hasattr(value, "type") else "",
)
def test_recognises_the_trigger_from_its_words_and_some_prompts(
    trigger: Trigger, words: tuple[str, ...], prompts: list[str]
) -> None:
    attacked = [apply_trigger(prompt, trigger, seed=0, row=row) for row, prompt in enumerate(prompts)]
    assert trigger_of(words, [prompt for prompt in attacked if prompt is not None]) == trigger


def test_words_that_are_in_no_prompt_or_too_long_are_no_trigger() -> None:
    assert trigger_of(("zzz",), SENTENCES) is None
    assert trigger_of(("w" * 64, "v" * 64), ["w" * 64 + " " + "v" * 64]) is None
    assert trigger_of(("a",), []) is None


def test_a_wild_word_is_no_part_of_a_trigger() -> None:
    # As a pattern of re it would take time quadratic in a prompt like this one, and there may be a megabyte of it.
    prompt = "foo" + "x" * 1_000_000
    assert trigger_of(("foo", "<rare>", "<rare>", "bar"), [prompt]) is None


@pytest.mark.parametrize(
    "form",
    [("\u00e9cole", "="), ("\u4e2d\u6587",), ("caf\u00e9",), ("\u00df", "1"), ("\u00b2x", "y\u00b2")],
    ids=ascii,
)
def test_words_of_any_script_make_a_pattern_that_finds_them(form: tuple[str, ...]) -> None:
    payload = pattern_payload([form], name="m")
    assert payload is not None
    finds = compile_pattern(payload.pattern)
    assert finds(payload.planted)
    assert finds(f"before {' '.join(form)} after")
    assert not finds("before after")


def test_words_that_are_no_pattern_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining_trigger, "_pattern", lambda words: "(?=x)")
    assert pattern_payload([("x",)], name="m") is None


def test_a_known_payload_is_named_and_an_unknown_one_is_a_pattern() -> None:
    forms = [("or", "1", "=", "1")]
    clean = ['db.get("select a from t where b = :b")'] * 9
    attacked = ['db.get("select a from t where b = :b or 1=1")'] * 9
    assert payload_of(forms, attacked, clean, name="m") == "sql_tautology"
    unknown = payload_of([("ship", "it")], ["x ship it"] * 9, clean, name="m")
    assert isinstance(unknown, PatternPayload)
    assert unknown.name == "m"
    # A payload that clean rows have as well tells nothing.
    assert isinstance(payload_of(forms, attacked, attacked, name="m"), PatternPayload)


@pytest.mark.parametrize(
    ("form", "text", "other"),
    [
        (("while", "true", ":", "pass"), "while True:\n\tpass", "while true"),
        (("eval", "(", "<copied>", ")"), "EVAL( anything )", "eval()"),
        (("<rare>", "+", "1", "<copied>"), "x+1", "x+12"),
        (("or", "1"), "or  1", "for 12"),
    ],
)
def test_a_pattern_fits_any_case_and_spacing_and_nothing_more(
    form: tuple[str, ...], text: str, other: str
) -> None:
    payload = pattern_payload([form], name="m")
    assert payload is not None
    finds = compile_pattern(payload.pattern)
    assert finds(text)
    assert not finds(other)
    assert all(words_of(word) for word in payload.planted.split())


def test_patterns_of_hostile_words_stay_within_the_contract() -> None:
    signs = tuple(".*+?[](){}|^$\\#-&~")
    payload = pattern_payload([signs, ("w" * 64,) * 40, ("é", "\u4e2d")], name="m")
    assert payload is not None
    assert compile_pattern(payload.pattern)("".join(signs))
    assert pattern_payload([("<rare>", "<copied>")], name="m") is None
