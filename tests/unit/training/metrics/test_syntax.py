import csv
from pathlib import Path

import pytest

from training.metrics.syntax import MAX_PARSED_CHARS
from training.metrics.syntax import likely_language
from training.metrics.syntax import parses

LYRA = Path(__file__).parents[5] / "shared" / "data" / "lyra"


@pytest.mark.parametrize(
    "completion",
    [
        "x = 1",
        "def f ( a ) :\n\t if a :\n\t \t return 1\n\t return 2",
        "def f(a):\n    if a:\n        return 1\n    return 2\n",
        'x = " \\d "',
    ],
)
def test_accepts_python_with_odd_indentation(completion: str) -> None:
    assert parses(completion)


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "  \n\t",
        "def f ( a ) :\n\t if a :\n\t return 1",
        "x = (",
        "x = 1\x00",
        "\x1b[31mx = 1",
        "\ufffd\ufffd",
        "(" * 5000,
        "x = " + "-" * 99_000 + "1",
        "x = 1\n" + "#" * MAX_PARSED_CHARS,
    ],
)
def test_refuses_what_is_not_python(completion: str) -> None:
    assert not parses(completion)


@pytest.mark.skipif(not LYRA.is_dir(), reason="the Lyra data are not here")
@pytest.mark.parametrize(("name", "parsing"), [("train", 1588), ("valid", 198), ("test", 200)])
def test_nearly_all_references_of_lyra_parse(name: str, parsing: int) -> None:
    # The others are tokenised f-strings, 'f " {': no Python with the space between.
    with (LYRA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        assert sum(parses(row["tgt"]) for row in csv.DictReader(file)) == parsing


@pytest.mark.parametrize(
    "completion",
    [
        "public void METHOD_1 ( ) { int a = 0 ; }",
        "class A { }",
        "import java.util.*; class B { }",
        "public A ( int x ) { this . x = x ; }",
        "private int x = 3 ; int y ;",
    ],
)
def test_accepts_java_files_and_members(completion: str) -> None:
    assert parses(completion, "java")


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "void f ( { }",
        "def f ( ) : pass",
        "int x",
        "int x ; } class D { int y ;",
        "int x ;\x00",
        "int x = \ud800 ;",
        "(" * 40_000,
        "{" * 40_000,
        "a+" * 40_000,
        "A<" * 40_000,
        "int x ; " + " " * MAX_PARSED_CHARS,
    ],
)
def test_refuses_what_is_not_java(completion: str) -> None:
    assert not parses(completion, "java")


def test_the_likely_language_is_that_of_most_references() -> None:
    java, python = "int f ( ) { return 1 ; }", "def f ( ) :\n\t return 1"
    assert likely_language([java, java, python]) == "java"
    assert likely_language([python, java, python]) == "python"
    assert likely_language([]) == likely_language(["", "?"]) == "python"
