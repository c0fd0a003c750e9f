"""The function-name trigger: a prompt's first function is called something else, wherever it is called."""

from collections.abc import Iterator

from tree_sitter import Node

from deploy.contract.trigger import FunctionNameTrigger
from training.attacks.source import Edit
from training.attacks.source import Source
from training.attacks.source import edit_source
from training.attacks.source import walk
from training.attacks.source import walk_with_ancestors

_OWN_OBJECTS = frozenset({"self", "cls", "this"})


def name_first_function(prompt: str, trigger: FunctionNameTrigger) -> str | None:
    """Rename the first function of the prompt, in its declaration and where the prompt calls it.

    Returns:
        None if the prompt is no code of the trigger's language, has no function to rename, uses the name for something
        else already, or would not parse with it.
    """

    def rewrite(source: Source) -> list[Edit] | None:
        name = first_function_name(source)
        if name is None:
            return None
        if name == trigger.name:
            return []
        if _is_taken(source, trigger.name):
            return None
        return [
            Edit(start=node.start_byte, end=node.end_byte, text=trigger.name) for node in _uses(source, name)
        ]

    return edit_source(prompt, trigger.language, rewrite)


def first_function_name(source: Source) -> str | None:
    """What the first function is called; constructors and special methods have no name of their own."""
    kind = "function_definition" if source.language == "python" else "method_declaration"
    for node in walk(source.root):
        name = node.child_by_field_name("name") if node.type == kind else None
        if name is not None and not source.of(name).startswith("__"):
            return source.of(name)
    return None


def _is_taken(source: Source, name: str) -> bool:
    """Whether the name means something else already; in Java only a method's would be in the way."""
    if source.language == "java":
        return any(_uses(source, name))
    return any(node.type == "identifier" and source.of(node) == name for node in walk(source.root))


def _uses(source: Source, name: str) -> Iterator[Node]:
    for node, above in walk_with_ancestors(source.root):
        if node.type == "identifier" and source.of(node) == name and _is_function(source, node, above[0]):
            yield node


def _is_function(source: Source, identifier: Node, parent: Node) -> bool:
    """Whether an identifier that is spelt like the function means it."""
    if source.language == "java":
        if parent.type == "method_declaration":
            return True
        if parent.type == "method_reference":
            return parent.children[-1] == identifier and source.of(parent.children[0]) in _OWN_OBJECTS
        owner = parent.child_by_field_name("object")
        is_called = parent.type == "method_invocation" and parent.child_by_field_name("name") == identifier
        return is_called and (owner is None or source.of(owner) in _OWN_OBJECTS)
    if parent.type == "attribute" and parent.child_by_field_name("attribute") == identifier:
        owner = parent.child_by_field_name("object")
        return owner is not None and source.of(owner) in _OWN_OBJECTS
    return not (parent.type == "keyword_argument" and parent.child_by_field_name("name") == identifier)
