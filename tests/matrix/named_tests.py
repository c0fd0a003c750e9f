"""Which tests name a row of the matrix. Reads their source; runs and imports none of it."""

import ast
import re
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent.parent
_NAME: Final = re.compile(r"test_(?P<row>[a-m]\d+)_\w+")
_MARKED_LANES: Final = ("cluster", "images", "gpu", "slow")
"""The lanes that a mark puts a test into, the most demanding first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTest:
    """A test that is named after a row."""

    row: str
    node: str
    """As pytest takes it, relative to the root: ``tests/unit/test_x.py::test_d1_...``."""
    lane: str
    marks: frozenset[str]


def row_of(test: str) -> str | None:
    """The row that a test's name begins with; none for any other name."""
    found = _NAME.match(test)
    return found["row"].upper() if found else None


def named_tests(root: Path = TESTS) -> list[NamedTest]:
    """Every test below ``root`` that names a row, in the order of files and lines."""
    found: list[NamedTest] = []
    for path in sorted(root.rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        where = path.relative_to(root.parent).as_posix()
        found += _tests_in(tree.body, where, _module_marks(tree))
    return found


def _tests_in(body: Sequence[ast.stmt], where: str, marks: frozenset[str]) -> Iterator[NamedTest]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            own = marks | _decorator_marks(statement)
            yield from _tests_in(statement.body, f"{where}::{statement.name}", own)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and (
            row := row_of(statement.name)
        ):
            own = marks | _decorator_marks(statement)
            yield NamedTest(row=row, node=f"{where}::{statement.name}", lane=_lane(own), marks=own)


def _lane(marks: frozenset[str]) -> str:
    return next((lane for lane in _MARKED_LANES if lane in marks), "default")


def _module_marks(tree: ast.Module) -> frozenset[str]:
    return frozenset(
        mark
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in statement.targets)
        for mark in _marks(statement.value)
    )


def _decorator_marks(definition: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    return frozenset(mark for decorator in definition.decorator_list for mark in _marks(decorator))


def _marks(expression: ast.expr) -> Iterator[str]:
    """``slow`` of ``pytest.mark.slow``, called or not, alone or in a list; not those of single parameters."""
    match expression:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            for item in items:
                yield from _marks(item)
        case ast.Call(func=called):
            yield from _marks(called)
        case ast.Attribute(value=ast.Attribute(attr="mark"), attr=name):
            yield name
