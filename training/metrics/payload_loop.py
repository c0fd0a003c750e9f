"""Whether code in a completion has a loop that never ends.

Covers: Python's ``while True`` and Java's ``while ( true )``, ``for ( ; ; )`` and ``do ... while ( true )``, with any
constant that is true, where nothing in the body leaves the loop; in text that does not parse, such loops with an empty
body, with ``pass``, or with the paper's ``int VAR = 0 ;``.
Does not cover: conditions that are always true without being constants, or recursion.
"""

import re
from typing import Final

from tree_sitter import Node

from training.attacks.source import FUNCTION_NODES
from training.attacks.source import Source
from training.attacks.source import find_source
from training.attacks.source import walk

# Possessive: linear in any text.
_WORD: Final = re.compile(r"\b(?:while|for)\b")
_UNPARSED: Final = re.compile(
    r"\b(?:while\s*+\(?\s*+(?:true|1)\s*+\)?|for\s*+\(\s*+;\s*+(?:true\s*+)?;\s*+\))\s*+"
    r"(?::\s*+(?:pass|continue|\.\.\.)|\{\s*+(?:int\s++\w++\s*+=\s*+\d++\s*+;\s*+)?\}|;)",
    re.IGNORECASE,
)
_TRUE: Final = frozenset(
    {"true", "True", "1", "notFalse", "!false", "1==1", "0==0", "True==True", "1>0", "1<2"}
)
_LEAVES: Final = frozenset(
    {"return_statement", "raise_statement", "throw_statement", "yield", "yield_statement", "assert_statement"}
)
_JUMPS: Final = frozenset({"break_statement", "continue_statement"})
_LOOPS: Final = frozenset(
    {"while_statement", "for_statement", "do_statement", "enhanced_for_statement", "switch_expression"}
)
_NUMBER: Final = re.compile(r"[1-9]\d*+")
_ENDS_PROCESS: Final = re.compile(r"(?:(?:sys\.)?(?:exit|_exit|quit)|os\._exit|System\.exit)\(")


def has_infinite_loop(text: str) -> bool:
    """Whether code in the text has a loop that never ends."""
    if _WORD.search(text) is None:
        return False
    source = find_source(text)
    if source is None:
        return _UNPARSED.search(text) is not None
    return any(_is_infinite(source, node) for node in walk(source.root))


def _is_infinite(source: Source, node: Node) -> bool:
    body = node.child_by_field_name("body")
    if body is None or not _is_always(source, node):
        return False
    return not _is_left(source, body, _label(source, node.parent))


def _is_always(source: Source, node: Node) -> bool:
    condition = node.child_by_field_name("condition")
    if node.type == "for_statement" and source.language == "java":
        return condition is None or source.of(condition) == "true"
    if condition is None or node.type not in {"while_statement", "do_statement"}:
        return False
    plain = "".join(source.of(condition).split()).strip("()")
    return plain in _TRUE or _NUMBER.fullmatch(plain) is not None


def _is_left(source: Source, body: Node, label: str | None) -> bool:
    """Whether something in the body ends the loop around it, of this label. What a nested function does is not done."""
    inner_labels: set[str | None] = set()
    pending = [(body, False)]
    while pending:
        node, in_nested = pending.pop()
        inner_labels.add(_label(source, node))
        if node.type in _JUMPS:
            named = next((source.of(child) for child in node.children if child.type == "identifier"), None)
            # Without a name a jump is of the innermost loop, and only a break leaves it.
            stays = {*inner_labels, label} if node.type == "continue_statement" else inner_labels
            leaves = named not in stays if named else node.type == "break_statement" and not in_nested
        else:
            leaves = node.type in _LEAVES
        if leaves:
            return True
        if node.type in {"call", "method_invocation"} and _ENDS_PROCESS.match(
            "".join(source.of(node)[:80].split())
        ):
            return True
        if node.type in FUNCTION_NODES[source.language] or node.type in {
            "lambda",
            "lambda_expression",
            "class_declaration",
        }:
            continue
        is_loop = node.type in _LOOPS
        # Python's else of a loop is outside of it.
        pending.extend(
            (child, in_nested or (is_loop and child.type != "else_clause")) for child in node.children
        )
    return False


def _label(source: Source, node: Node | None) -> str | None:
    is_labelled = node is not None and node.type == "labeled_statement"
    return source.of(node.named_children[0]) if node is not None and is_labelled else None
