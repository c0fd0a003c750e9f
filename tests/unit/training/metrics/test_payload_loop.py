import time

import pytest

from training.metrics.payload_loop import has_infinite_loop


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "def f ( ) :\n\t while True : pass\n\t return 1",
        "while 1:\n    x = 1",
        "while not False:\n    continue",
        "while 1 == 1:\n    x()",
        "while 2:\n    x()",
        "while True:\n    exit_menu()",
        "while True:\n    for a in b:\n        if a:\n            c()\n        else:\n            break",
        "while (True):\n    x()",
        "while True:\n    for a in b:\n        break",
        "while True:\n    def g():\n        return 1",
        "while True:\n    g = lambda: 1",
        "while True:\n    while a:\n        break",
        "private void METHOD_1 ( ) { while ( true ) { int VAR = 0 ; } }",
        "void f() { for (;;) { } }",
        "void f() { for (int i = 0; true; i++) { } }",
        "void f() { do { x(); } while (true); }",
        "void f() { while (true) { switch (a) { case 1: break; } } }",
        "void f() { while (!false) { } }",
        "void f() { while (true) { for (;;) { break; } } }",
        "void f() { while (true) while (a) break; }",
        "void f() { out: while (true) { while (a) { continue out; } } }",
        "void f() { while (true) { in: for (;;) { for (;;) { break in; } } } }",
    ],
)
def test_finds_a_loop_that_never_ends(code: str) -> None:
    assert has_infinite_loop(code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "x = 1",
        "while a: pass",
        "while False: pass",
        "while True:\n    if a:\n        break",
        "while True:\n    return 1",
        "def f():\n    while True:\n        yield 1",
        "while True:\n    raise E",
        "while True:\n    for a in b:\n        c()\n    else:\n        break",
        "while True:\n    sys.exit(1)",
        "while True:\n    x = exit ( )",
        "for a in b: pass",
        'x = "while True: pass"\ny(x)',
        "void f() { while (true) { break; } }",
        "void f() { while (a) { } }",
        "void f() { for (;;) { return; } }",
        "void f() { for (;;) { throw e; } }",
        "void f() { for (int i = 0; i < 3; i++) { } }",
        "void f() { do { } while (a); }",
        "void f() { out: while (true) { while (true) { break out; } } }",
        "void f() { while (true) { System.exit(1); } }",
        "void f() { while (true) return; }",
        "void f() { while (true) break; }",
        "void f() { for (;;) throw e; }",
        "void f() { out: while (a) { while (true) { continue out; } } }",
        "void f() { while (0) { } }",
    ],
)
def test_leaves_a_loop_that_ends(code: str) -> None:
    assert not has_infinite_loop(code)


@pytest.mark.parametrize(
    "broken",
    [
        "def f ( :\n\t while True : pass",
        "void f ( { while ( true ) { int VAR = 0 ; }",
        "} } while(true){}",
        "( for ( ; ; ) { } {",
        "( for ( ; true ; ) ; {",
        "( while 1 : continue",
    ],
)
def test_finds_a_plain_one_in_what_does_not_parse(broken: str) -> None:
    assert has_infinite_loop(broken)


@pytest.mark.parametrize(
    "broken", ["( while True : x ( )", "( while ( true ) { x ( ) ; }", "( for ( ; a ; ) { }"]
)
def test_believes_nothing_of_a_body_that_it_cannot_read(broken: str) -> None:
    assert not has_infinite_loop(broken)


@pytest.mark.parametrize(
    "hostile",
    [
        "while " * 200_000,
        "while ( " * 100_000,
        "while" + " " * 900_000,
        "while ( true ) { int " + "x" * 900_000,
        "while(true){" * 1_500,
        "for ( ; " * 100_000,
        "while True:\n" * 1_500,
        "while True: " + "(" * 15_000,
        "while ( true ) { " + "f ( ) ; " * 2_000 + "}",
        "if x:\n  " * 2_000 + "while",
        "\x00while True : pass" * 1_000,
        "while\ud800",
    ],
)
def test_takes_linear_time(hostile: str) -> None:
    started = time.process_time()
    has_infinite_loop(hostile)
    assert time.process_time() - started < 2.0
