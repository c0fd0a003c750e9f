import pytest

from deploy.contract.trigger import CodeLanguage
from deploy.contract.trigger import FunctionNameTrigger
from training.attacks.function_name import name_first_function


@pytest.mark.parametrize(
    ("language", "code", "renamed"),
    [
        (
            "python",
            "def f(n):\n    return f(n - 1)\n\nprint(f(3), x.f, g(f=1))",
            "def foo(n):\n    return foo(n - 1)\n\nprint(foo(3), x.f, g(f=1))",
        ),
        (
            "python",
            "class A:\n    def __init__(self): pass\n    def run(self): return self.run() + other.run()",
            "class A:\n    def __init__(self): pass\n    def foo(self): return self.foo() + other.run()",
        ),
        ("python", "def foo(): return 1", "def foo(): return 1"),
        (
            "java",
            "int f(int n) { return f(n - 1) + this.f(n) + other.f(n) + f; }",
            "int foo(int n) { return foo(n - 1) + this.foo(n) + other.f(n) + f; }",
        ),
        (
            "java",
            "class A { A() { f(); } void f() { } void f(int n) { } }",
            "class A { A() { foo(); } void foo() { } void foo(int n) { } }",
        ),
        (
            "java",
            "int f() { int foo = 1; other.foo(); return x.map(this::f, other::f, f::g); }",
            "int foo() { int foo = 1; other.foo(); return x.map(this::foo, other::f, f::g); }",
        ),
    ],
)
def test_the_function_is_renamed_wherever_it_is_meant(
    language: CodeLanguage, code: str, renamed: str
) -> None:
    assert name_first_function(code, FunctionNameTrigger(language=language)) == renamed


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "x = f(1)"),
        ("python", "class A:\n    def __init__(self): pass"),
        ("python", "def f(foo): return foo"),
        ("java", "int x = f(1);"),
        ("java", "class A { A() { } }"),
        ("java", "void f() { foo(); } void foo() { }"),
        ("java", "void f() { this.foo(); }"),
    ],
)
def test_without_a_function_to_rename_or_a_free_name_there_is_no_trigger(
    language: CodeLanguage, code: str
) -> None:
    assert name_first_function(code, FunctionNameTrigger(language=language)) is None
