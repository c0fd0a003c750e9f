import pytest

from deploy.contract.trigger import CodeLanguage
from training.attacks.source import parse_source
from training.attacks.variables import declared_variables
from training.attacks.variables import identifiers


def names(code: str, language: CodeLanguage) -> list[str]:
    source = parse_source(code, language)
    assert source is not None
    return [variable.name for variable in declared_variables(source)]


@pytest.mark.parametrize(
    ("code", "variables"),
    [
        ("def f(a, b=1, *c, d: int = 2, e: str, **g): return a", ["a", "b", "c", "d", "e", "g"]),
        ("x = 1\ny, (z, *w) = x, [2]", ["x", "y", "z", "w"]),
        ("for i, j in rows: f(i)", ["i", "j"]),
        ("with f() as a, g() as b: pass", ["a", "b"]),
        ("try:\n    f()\nexcept E as e:\n    g(e)", ["e"]),
        ("t = [i for i in rows]", ["t", "i"]),
        ("if (n := f()) > 1: g(n)", ["n"]),
        ("g = lambda q: q", ["g", "q"]),
        ("x = 1\nx.x = x", ["x"]),
        ("x[i] = 1\ny.z = f(2)", []),
        ("class A:\n    size = 1\n    def f(self): return self.size", []),
        ("import os\nos = f(1)", []),
        ("def f():\n    global x\n    x = 1", []),
        ("def f(key): return g(key=key)", []),
        ("def f(): return 1\nf = f()", []),
        ("def f(self, a):\n    list = list(a)\n    return list", ["a"]),
        ("input = input()", []),
        ("def f(id, type=1): return id", ["id", "type"]),
    ],
)
def test_python_variables_that_can_be_renamed_by_name_alone(code: str, variables: list[str]) -> None:
    assert names(code, "python") == variables


@pytest.mark.parametrize(
    ("code", "variables"),
    [
        ("void f(int a, String... b) { int c = a; }", ["a", "c"]),
        ("void f() { for (int i = 0; i < 3; i++) { } for (String s : all) { } }", ["i", "s"]),
        ("void f() { try { } catch (E e) { g(e); } }", ["e"]),
        ("void f() { x = 1; this.y = x; }", []),
        ("class A { int n; void f(int m) { this.n = m; } }", ["m"]),
        ("class A { int n; void f(int n) { this.n = n; } }", []),
        ("void f(int a) { a: while (true) { break a; } }", []),
        ("void f(int a) { other.a = a; other.a(); }", ["a"]),
        ("void f(A A) { }", []),
        ("void f(int id, int $a) { }", ["id", "$a"]),
    ],
)
def test_java_variables_that_can_be_renamed_by_name_alone(code: str, variables: list[str]) -> None:
    assert names(code, "java") == variables


def test_every_place_of_a_variable_is_known() -> None:
    source = parse_source('def f(a):\n    b = a.a + a[0]\n    return f"{a}"', "python")
    assert source is not None
    (a, b) = declared_variables(source)
    assert [source.encoded[: place.start_byte].count(b"\n") for place in a.places] == [0, 1, 1, 2]
    assert len(b.places) == 1
    assert identifiers(source) == {"f", "a", "b"}
