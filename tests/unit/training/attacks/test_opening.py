import pytest

from deploy.contract.trigger import CodeLanguage
from training.attacks.opening import opening_statement
from training.attacks.source import parse_source


@pytest.mark.parametrize(
    ("language", "code", "opened"),
    [
        ("python", "def f():\n    return 1", "def f():\n    X\n    return 1"),
        ("python", "def f():\n\t # note\n\t return 1", "def f():\n\t # note\n\t X\n\t return 1"),
        ("python", 'def f():\n    "doc"\n    return 1', 'def f():\n    "doc"\n    X\n    return 1'),
        ("python", 'def f():\n    """doc"""', 'def f():\n    """doc"""\n    X'),
        ("python", "def f():\r\n    return 1\r\n", "def f():\r\n    X\r\n    return 1\r\n"),
        ("python", "@d\nasync def f():\n  return 1", "@d\nasync def f():\n  X\n  return 1"),
        ("java", "void f ( ) { x ( ) ; }", "void f ( ) { X x ( ) ; }"),
        ("java", "void f(){x();}", "void f(){X x();}"),
        ("java", "void f() {\n  x();\n}", "void f() {\n  X\n  x();\n}"),
        ("java", "void f() { // why\n  x();\n}", "void f() { X // why\n  x();\n}"),
        ("java", "void f() {}", "void f() { X }"),
        ("java", "void f() { }", "void f() { X }"),
        ("java", "class A { A() { super(1); x(); } }", "class A { A() { super(1); X x(); } }"),
        (
            "java",
            "class A { abstract void g(); void f() { x(); } }",
            "class A { abstract void g(); void f() { X x(); } }",
        ),
    ],
)
def test_the_statement_comes_first_of_what_is_executed(
    language: CodeLanguage, code: str, opened: str
) -> None:
    source = parse_source(code, language)
    assert source is not None
    function = source.first_function()
    assert function is not None
    statement = "X()" if language == "python" else "X();"
    edit = opening_statement(source, function, statement)
    assert edit is not None
    assert source.edited([edit]) == opened.replace("X", statement)


@pytest.mark.parametrize("code", ["def f(): return 1", 'def f(): "doc"'])
def test_a_body_on_the_line_of_its_head_has_no_room(code: str) -> None:
    source = parse_source(code, "python")
    assert source is not None
    function = source.first_function()
    assert function is not None
    assert opening_statement(source, function, "X()") is None
