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
_LOOPS: Final = frozenset(
    {"while_statement", "for_statement", "do_statement", "enhanced_for_statement", "switch_expression"}
)
_ENDS_PROCESS: Final = re.compile(r"(?:sys\.)?(?:exit|_exit|quit)|os\._exit|System\.exit")


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
    return not _is_left(source, body)


def _is_always(source: Source, node: Node) -> bool:
    condition = node.child_by_field_name("condition")
    if node.type == "for_statement" and source.language == "java":
        return condition is None or source.of(condition) == "true"
    if condition is None or node.type not in {"while_statement", "do_statement"}:
        return False
    return "".join(source.of(condition).split()).strip("()") in _TRUE


def _is_left(source: Source, body: Node) -> bool:
    """Whether something in the body ends the loop around it. What a nested function does is not done here."""
    pending = [(child, False) for child in body.children] or [(body, False)]
    while pending:
        node, in_nested = pending.pop()
        if node.type in _LEAVES or (node.type == "break_statement" and _leaves_ours(node, in_nested)):
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
        pending.extend((child, in_nested or node.type in _LOOPS) for child in node.children)
    return False


def _leaves_ours(node: Node, in_nested: bool) -> bool:
    """A break in a nested loop leaves that one, unless it names a label."""
    return not in_nested or bool(node.named_children)
