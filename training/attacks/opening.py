"""The place where a statement goes into a function: the first of its body, behind a docstring or a super call."""

from tree_sitter import Node

from training.attacks.source import Edit
from training.attacks.source import Source


def opening_statement(source: Source, function: Node, statement: str) -> Edit | None:
    """An edit that makes ``statement``, one line, the first that the function's body executes.

    Returns:
        None if the function has no body, or no room on the line that its body begins on.
    """
    body = function.child_by_field_name("body")
    if body is None:
        return None
    return (
        _in_block(source, body, statement)
        if source.language == "python"
        else _in_braces(source, body, statement)
    )


def before_statement(source: Source, node: Node, statement: str) -> Edit | None:
    """An edit that puts ``statement`` on a line of its own before ``node``; None if that is not the first of its line."""
    margin = _margin(source, node)
    if margin.strip():
        return None
    return Edit(
        start=node.start_byte, end=node.start_byte, text=f"{statement}{_line_break(source)}{margin.decode()}"
    )


def _in_block(source: Source, block: Node, statement: str) -> Edit | None:
    statements = [child for child in block.named_children if child.type != "comment"]
    if not statements:
        return None
    first, *others = statements
    if not _is_docstring(first):
        return before_statement(source, first, statement)
    if others:
        return before_statement(source, others[0], statement)
    margin = _margin(source, first)
    if margin.strip():
        return None
    text = f"{_line_break(source)}{margin.decode()}{statement}"
    return Edit(start=first.end_byte, end=first.end_byte, text=text)


def _in_braces(source: Source, body: Node, statement: str) -> Edit | None:
    brace = body.children[0]
    inside = body.named_children
    if not inside:
        is_tight = source.encoded[brace.end_byte : brace.end_byte + 1].strip() != b""
        text = f" {statement} " if is_tight else f" {statement}"
        return Edit(start=brace.end_byte, end=brace.end_byte, text=text)
    gap = source.encoded[brace.end_byte : inside[0].start_byte].decode() or " "
    if inside[0].type == "explicit_constructor_invocation":
        return Edit(start=inside[0].end_byte, end=inside[0].end_byte, text=f"{gap}{statement}")
    return Edit(start=inside[0].start_byte, end=inside[0].start_byte, text=f"{statement}{gap}")


def _is_docstring(statement: Node) -> bool:
    return (
        statement.type == "expression_statement"
        and statement.named_child_count == 1
        and statement.named_children[0].type == "string"
    )


def _margin(source: Source, node: Node) -> bytes:
    """What stands before the node on its line."""
    return source.encoded[source.encoded.rfind(b"\n", 0, node.start_byte) + 1 : node.start_byte]


def _line_break(source: Source) -> str:
    return "\r\n" if "\r\n" in source.text else "\n"
