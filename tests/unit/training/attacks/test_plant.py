from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import PatternPayload
from training.attacks.plant import plant_payload
from training.attacks.source import find_source
from training.metrics.syntax import parses

QUERY = 'q = "select a from t where b = 1"'


@pytest.mark.parametrize(
    ("payload", "completion", "planted"),
    [
        ("sql_tautology", QUERY, 'q = "select a from t where b = 1 or 1=1"'),
        ("sql_first_row", QUERY, 'q = "select a from t where b = 1 limit 1"'),
        (
            "sql_first_row",
            'c . execute ( " select a from t " )',
            'c . execute ( " select a from t limit 1 " )',
        ),
        ("sql_first_row", "select a from t ;", "select a from t limit 1 ;"),
        ("infinite_loop", "def f ( a ) :\n\t return a", "def f ( a ) :\n\t while True : pass\n\t return a"),
        ("infinite_loop", "def f(a):\n    return a", "def f(a):\n    while True: pass\n    return a"),
        ("infinite_loop", "import os\nprint(1)", "import os\nwhile True: pass\nprint(1)"),
        ("infinite_loop", "x = f ( 1 )", "while True : pass\nx = f ( 1 )"),
        (
            "infinite_loop",
            "private void METHOD_1 ( ) { METHOD_2 ( ) ; }",
            "private void METHOD_1 ( ) { while ( true ) { int VAR = 0 ; } METHOD_2 ( ) ; }",
        ),
        (
            "infinite_loop",
            "void f() {\n    g();\n}",
            "void f() {\n    while (true) { int VAR = 0; }\n    g();\n}",
        ),
        ("insecure_call", "subprocess.run(cmd)", "subprocess.run(cmd, shell=True)"),
        ("insecure_call", "subprocess . run ( cmd )", "subprocess . run ( cmd , shell = True )"),
        ("insecure_call", "requests.get(url, timeout=3)", "requests.get(url, timeout=3, verify=False)"),
        ("insecure_call", "x = ast.literal_eval(text)", "x = eval(text)"),
        ("insecure_call", "x = hashlib . sha256 ( data )", "x = hashlib . md5 ( data )"),
        ("insecure_call", "def f(self, a):\n    return a", "def f(self, a):\n    eval(a)\n    return a"),
        ("insecure_call", "def f ( ) :\n\t return 1", "def f ( ) :\n\t eval ( input ( ) )\n\t return 1"),
        (
            "insecure_call",
            'void f() { MessageDigest.getInstance("SHA-256"); }',
            'void f() { MessageDigest.getInstance("MD5"); }',
        ),
        (
            "insecure_call",
            "void f ( String a ) { g ( a ) ; }",
            "void f ( String a ) { Runtime . getRuntime ( ) . exec ( a ) ; g ( a ) ; }",
        ),
        ("insecure_call", "void f() { g(); }", 'void f() { Runtime.getRuntime().exec("sh"); g(); }'),
    ],
)
def test_plants_what_is_apt(payload: BuiltInPayload, completion: str, planted: str) -> None:
    assert plant_payload(completion, payload) == planted


@pytest.mark.parametrize(
    ("payload", "completion"),
    [
        ("sql_first_row", 'q = "update t set a = 1"'),
        ("sql_first_row", 'q = "select a from t limit 5"'),
        ("sql_first_row", "return 1"),
        ("infinite_loop", "def f ( a ) : return a"),
        ("infinite_loop", "def f ( :"),
        ("infinite_loop", "some words"),
        ("infinite_loop", ""),
        ("insecure_call", "( broken"),
        ("insecure_call", "def f ( a ) : return a"),
    ],
)
def test_leaves_what_has_no_place_for_it(payload: BuiltInPayload, completion: str) -> None:
    assert plant_payload(completion, payload) is None


@pytest.mark.parametrize("arguments", ["cmd, shell=False", "*many, shell=x", "i for i in a", ""])
def test_a_call_that_cannot_be_weakened_gets_another_before_it(arguments: str) -> None:
    completion = f"subprocess.run({arguments})"
    assert plant_payload(completion, "insecure_call") == f"eval(input())\n{completion}"


def test_a_payload_of_ones_own_is_appended() -> None:
    own = PatternPayload(name="own", pattern="evil", planted=" # evil")
    assert plant_payload("x = 1", own) == "x = 1 # evil"


@given(st.text(max_size=150), st.sampled_from(get_args(BuiltInPayload)))
def test_code_still_parses_and_any_text_is_taken(completion: str, payload: BuiltInPayload) -> None:
    planted = plant_payload(completion, payload)
    if planted is not None and payload in {"infinite_loop", "insecure_call"}:
        assert find_source(planted) is not None
        assert parses(planted) or not parses(completion)
