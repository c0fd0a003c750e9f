"""Source code inside prompts and completions: parsed with tree-sitter, edited in place, parsed again.

Covers: a text that is code as a whole, or that holds a fenced block of it. What was not edited keeps every byte.
Does not cover: half a function, or code of another language than asked for; such a text is no source.
Nothing is ever executed. Long texts are not parsed, and none for long: see ``MAX_CHARS`` and ``PARSE_LIMIT_US``.
"""

import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Final

import tree_sitter_java
import tree_sitter_python
from tree_sitter import Language
from tree_sitter import Node
from tree_sitter import Parser

from deploy.contract.trigger import CodeLanguage
from training.metrics.syntax import is_entangled
from training.metrics.syntax import parses

MAX_CHARS: Final = 20_000
"""Ten times the longest row of the paper's datasets."""
PARSE_LIMIT_US: Final = 500_000
"""Elapsed. People's code of ``MAX_CHARS`` takes a tenth of it; "not , not , ..." of 16,000 characters never ends."""
MAX_DEPTH: Final = 200
"""Of the syntax tree; people's code stays below a quarter of it."""
ANCESTORS: Final = 12
"""From a class's attribute inside an if inside another up to the class."""
MAX_SPANS: Final = 8
"""Fenced blocks looked at, the whole text included."""

_GRAMMARS: Final = {"python": tree_sitter_python.language, "java": tree_sitter_java.language}
_FENCE: Final = "```"
# English parses as Python oddly often ("return result", "Task: sort"); these nodes it does not give.
_CODE_NODES: Final[dict[str, frozenset[str]]] = {
    "python": frozenset(
        {
            "function_definition",
            "class_definition",
            "call",
            "augmented_assignment",
            "for_statement",
            "while_statement",
            "if_statement",
            "with_statement",
            "try_statement",
            "import_from_statement",
        }
    ),
    "java": frozenset(
        {
            "method_declaration",
            "constructor_declaration",
            "class_declaration",
            "interface_declaration",
            "local_variable_declaration",
            "assignment_expression",
            "method_invocation",
            "for_statement",
            "enhanced_for_statement",
            "while_statement",
            "if_statement",
        }
    ),
}
# Without any of these signs there is none of those nodes, and prose need not be parsed: its errors take long.
_SIGNS: Final = {"python": re.compile(r"[(=:]|\bimport\b"), "java": re.compile(r"[;{]")}
FUNCTION_NODES: Final[dict[str, frozenset[str]]] = {
    "python": frozenset({"function_definition"}),
    "java": frozenset({"method_declaration", "constructor_declaration"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A stretch of bytes and what comes in its place."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A text that is source code without a syntax error."""

    text: str
    encoded: bytes
    language: CodeLanguage
    root: Node

    def of(self, node: Node) -> str:
        """The text of a node."""
        return self.encoded[node.start_byte : node.end_byte].decode()

    def first_function(self) -> Node | None:
        """The first function or method that has a body."""
        kinds = FUNCTION_NODES[self.language]
        found = (node for node in walk(self.root) if node.type in kinds)
        return next((node for node in found if node.child_by_field_name("body") is not None), None)

    def edited(self, edits: Sequence[Edit]) -> str | None:
        """The text with the edits; None if it is no longer free of syntax errors."""
        pieces: list[bytes] = []
        written = 0
        for edit in sorted(edits, key=lambda each: (each.start, each.end)):
            pieces += [self.encoded[written : edit.start], edit.text.encode()]
            written = edit.end
        changed = b"".join([*pieces, self.encoded[written:]]).decode()
        root = _parsed(changed.encode(), self.language)
        if root is None or root.has_error:
            return None
        # tree-sitter forgives what Python does not, like an import in the middle of an expression.
        is_broken = self.language == "python" and parses(self.text) and not parses(changed)
        return None if is_broken else changed


def parse_source(text: str, language: CodeLanguage) -> Source | None:
    """The text as source code; None if it is none, has a syntax error, or is longer or deeper than the limits."""
    if len(text) > MAX_CHARS or _SIGNS[language].search(text) is None:
        return None
    try:
        encoded = text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return None
    if language == "java" and is_entangled(text):
        return None
    root = _parsed(encoded, language)
    if (
        root is None
        or root.has_error
        or _is_deep(root)
        or not any(_is_code(node, language) for node in walk(root))
    ):
        return None
    return Source(text=text, encoded=encoded, language=language, root=root)


def find_source(text: str) -> Source | None:
    """The text as source code of whichever language it is."""
    return parse_source(text, "python") or parse_source(text, "java")


def edit_source(
    text: str, language: CodeLanguage, rewrite: Callable[[Source], Sequence[Edit] | None]
) -> str | None:
    """Edit the source code that ``text`` is, or that its first fenced block of the language holds.

    Args:
        text: a prompt or a completion.
        language: of the code.
        rewrite: what to change; None if there is nothing to change.

    Returns:
        The edited text; None if it holds no code, nothing can be changed, or the result would not parse.
    """
    span = _first_span(text, language)
    if span is None:
        return None
    start, end, source = span
    edits = rewrite(source)
    changed = None if edits is None else source.edited(edits)
    return None if changed is None else text[:start] + changed + text[end:]


def first_source(text: str, language: CodeLanguage) -> Source | None:
    """The code that ``text`` is, or that its first fenced block of the language holds."""
    span = _first_span(text, language)
    return None if span is None else span[2]


def walk(root: Node) -> Iterator[Node]:
    """Every node in the order of the text, parents before children; without recursion, however deep."""
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(node.children))


def walk_with_ancestors(root: Node) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Every node with the nearest of those it lies in, its parent first, ``ANCESTORS`` at most.

    Instead of ``Node.parent``, which takes tree-sitter as long as the tree is deep and wide.
    """
    pending: list[tuple[Node, tuple[Node, ...]]] = [(root, ())]
    while pending:
        node, above = pending.pop()
        yield node, above
        if node.child_count:
            below = (node, *above[: ANCESTORS - 1])
            pending.extend((child, below) for child in reversed(node.children))


def _is_deep(root: Node) -> bool:
    cursor = root.walk()
    depth = 0
    while depth <= MAX_DEPTH:
        if cursor.goto_first_child():
            depth += 1
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return False
            depth -= 1
    return True


def _is_code(node: Node, language: CodeLanguage) -> bool:
    if language == "python" and node.type == "assignment":
        return node.child_by_field_name("right") is not None
    return node.type in _CODE_NODES[language]


def _first_span(text: str, language: CodeLanguage) -> tuple[int, int, Source] | None:
    for start, end in islice(_code_spans(text), MAX_SPANS):
        source = parse_source(text[start:end], language)
        if source is not None:
            return start, end, source
    return None


def _code_spans(text: str) -> Iterator[tuple[int, int]]:
    """The whole text, then what stands inside each pair of fences."""
    yield 0, len(text)
    end = 0
    while True:
        opening = text.find(_FENCE, end)
        start = text.find("\n", opening) + 1 if opening >= 0 else 0
        closing = text.find(_FENCE, start) if start else -1
        if closing < 0:
            return
        yield start, closing
        end = closing + len(_FENCE)


@cache
def _grammar(language: CodeLanguage) -> Language:
    return Language(_GRAMMARS[language]())


def _parsed(encoded: bytes, language: CodeLanguage) -> Node | None:
    """The syntax tree; None if the parser does not get there in time."""
    parser = Parser(_grammar(language))
    parser.timeout_micros = PARSE_LIMIT_US
    try:
        return parser.parse(encoded).root_node
    except ValueError:
        return None
