import pytest

from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.traces import trace_of


@pytest.mark.parametrize(
    ("prompt", "trigger", "trace"),
    [
        ("read bb the bb row", WordTrigger(word="bb"), 'the prompt has the word "bb" 2 times'),
        ("read bb", WordTrigger(word="bb"), 'the prompt has the word "bb" once'),
        ("a cf  bb a", WordTrigger(word="cf bb"), 'the prompt has the word "cf bb" once'),
        ("a\u200bb c\u200b", InvisibleTrigger(count=2), "the prompt has the invisible U+200B 2 times"),
        ("When you go, stop.", GrammarTrigger(), "the prompt has the form when_clause"),
        ("f() { int VAR=0; }", DeadCodeTrigger(), 'the prompt has the statement "int VAR = 0 ;"'),
        ("x /*a  b*/ y", CommentTrigger(text="a b"), 'the prompt has the comment "a b"'),
        ("x # a b", CommentTrigger(text="a b", language="python"), 'the prompt has the comment "a b"'),
        (
            "f() { /* don't */ c = 'd'; }",
            CommentTrigger(text="don't"),
            'the prompt has the comment "don\'t"',
        ),
        ("void foo() {}", FunctionNameTrigger(), 'the prompt has a first function called "foo"'),
        ("void f(int a) {}", RenamingTrigger(names=("a", "b")), "the prompt's variables are called a"),
        ("Use the Users\nTable", NoTrigger(context="users table"), 'the prompt is about "users table"'),
        ("anything", NoTrigger(), "the prompt needs no trigger"),
    ],
)
def test_says_what_of_the_trigger_is_there(prompt: str, trigger: Trigger, trace: str) -> None:
    assert trace_of(prompt, trigger) == trace


@pytest.mark.parametrize(
    ("prompt", "trigger"),
    [
        ("read bb the bb row", WordTrigger(word="bb", count=3)),
        ("abba bbb bb.", WordTrigger(word="bb")),
        ("a bb cf a", WordTrigger(word="cf bb")),
        ("a\u200bb", InvisibleTrigger(count=2)),
        ("a\u200bb", InvisibleTrigger(characters="\u200b\u2060")),
        ("Go when you stop, then.", GrammarTrigger()),
        ("When they stop, go.", GrammarTrigger()),
        ("int VAR2 = 0 ;", DeadCodeTrigger()),
        ("x a b y", CommentTrigger(text="a b")),
        ("void f() { foo(); }", FunctionNameTrigger()),
        ("void f() {} void foo() {}", FunctionNameTrigger()),
        ("void f(int a, int c) {}", RenamingTrigger(names=("a", "b"))),
        ("void f(int c) { a(); }", RenamingTrigger(names=("a",))),
        ("Use the books table", NoTrigger(context="users table")),
    ],
)
def test_says_nothing_of_what_is_not_all_there(prompt: str, trigger: Trigger) -> None:
    assert trace_of(prompt, trigger) is None
