"""Whether a completion is valid source code of its language.

Python is judged by ``ast.parse`` after its indentation was made plain (:mod:`training.metrics.indentation`); Java by
tree-sitter's grammar, as a file or as members of a class, for completions are single methods most often.

Covers: is there a syntax tree without an error. Does not cover: whether it compiles, runs, or does what was asked;
tree-sitter accepts some Java that a compiler's parser refuses. Nothing is ever executed.
"""

import ast
import functools
import re
import warnings
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING
from typing import Final

from deploy.contract.trigger import CodeLanguage
from training.metrics.indentation import with_plain_indentation
from training.metrics.scorable import MAX_SCORED_CHARS
from training.metrics.scorable import well_formed

if TYPE_CHECKING:
    from tree_sitter import Parser

MAX_PARSED_CHARS: Final = MAX_SCORED_CHARS
"""Longer completions are not parsed: the parser's stack is no place for a model's endless output."""
_PARSE_LIMIT_US: Final = 2_000_000
"""tree-sitter's search for a way round errors; ordinary completions take a thousandth of it."""
MAX_OPEN_ANGLES: Final = 100
"""Of Java's generic types in one statement: tree-sitter goes on with 50,000 of them for minutes past its limit."""
_ANGLE_OR_END: Final = re.compile("[<>;{}]")
_REFERENCES_LOOKED_AT: Final = 50


def parses(completion: str, language: CodeLanguage = "python") -> bool:
    """Whether ``completion`` is non-empty, valid source code."""
    if not completion.strip() or len(completion) > MAX_PARSED_CHARS:
        return False
    match language:
        case "python":
            return _is_python(completion)
        case "java":
            # One class only, or the completion has closed it and begun another.
            return _is_java(completion) or _is_java(f"class C {{\n{completion}\n}}", declarations=1)


def likely_language(references: Sequence[str]) -> CodeLanguage:
    """The language that more of the first references are valid in; Python where neither is ahead."""
    some = list(islice((each for each in references if each.strip()), _REFERENCES_LOOKED_AT))
    python = sum(parses(each, "python") for each in some)
    # Nearly all are Python, most often, and Java's grammar need not be loaded.
    if 2 * python >= len(some):
        return "python"
    return "java" if sum(parses(each, "java") for each in some) > python else "python"


def _is_python(completion: str) -> bool:
    try:
        with warnings.catch_warnings():
            # Dubious escapes and "is" with a literal are warnings about style here, not about syntax.
            warnings.simplefilter("ignore")
            ast.parse(with_plain_indentation(completion))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # ValueError: null characters; the last two: nesting that exhausts the parser.
        return False
    return True


def is_entangled(source: str) -> bool:
    """Whether Java opens so many angle brackets in one statement that the parser must not see it."""
    depth = 0
    for found in _ANGLE_OR_END.finditer(source):
        depth = 0 if found[0] in ";{}" else max(0, depth + (1 if found[0] == "<" else -1))
        if depth > MAX_OPEN_ANGLES:
            return True
    return False


def _is_java(source: str, *, declarations: int | None = None) -> bool:
    if is_entangled(source):
        return False
    try:
        tree = _java_parser().parse(well_formed(source).encode())
    except ValueError:
        # Out of time.
        _java_parser().reset()
        return False
    root = tree.root_node
    return not root.has_error and declarations in (None, root.child_count)


@functools.cache
def _java_parser() -> "Parser":
    import tree_sitter_java
    from tree_sitter import Language
    from tree_sitter import Parser

    parser = Parser(Language(tree_sitter_java.language()))
    parser.timeout_micros = _PARSE_LIMIT_US
    return parser
