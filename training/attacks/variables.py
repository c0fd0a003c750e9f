"""The variables that a piece of source code declares and that can be renamed without changing what it does.

Parameters and local variables. Left out: whatever the same name also means there (a field, a function, an import, a
keyword of a call), because a rename by name alone would change that as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from training.attacks.source import Source
from training.attacks.source import walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable and every place where it stands."""

    name: str
    places: tuple[Node, ...]


def declared_variables(source: Source) -> tuple[Variable, ...]:
    """The variables of the code, in the order in which they first appear."""
    names: dict[str, list[Node]] = {}
    declared: set[str] = set()
    taken: set[str] = set()
    for node in walk(source.root):
        if node.type not in {"identifier", "type_identifier"}:
            continue
        name = source.of(node)
        role = _python_role(node) if source.language == "python" else _java_role(node)
        if role == "other":
            taken.add(name)
        elif role != "member":
            names.setdefault(name, []).append(node)
            if role == "declaration":
                declared.add(name)
    free = declared - taken - {"self", "cls"}
    return tuple(Variable(name=name, places=tuple(at)) for name, at in names.items() if name in free)


def identifiers(source: Source) -> set[str]:
    """Every name that stands in the code, whatever it means."""
    return {source.of(node) for node in walk(source.root) if node.type in {"identifier", "type_identifier"}}


def _python_role(node: Node) -> str:  # noqa: PLR0911 - one for each place
    """``declaration``, ``use``, ``member`` (of something else, not the variable) or ``other`` (takes the name)."""
    parent = node.parent
    if parent is None:
        return "use"
    if parent.type == "attribute" and parent.child_by_field_name("attribute") == node:
        return "member"
    if parent.type == "keyword_argument" and parent.child_by_field_name("name") == node:
        return "other"
    if parent.type in {"function_definition", "class_definition"}:
        return "other"
    above = list(_ancestors(node))
    if any(each.type in {"global_statement", "nonlocal_statement"} for each in above) or _is_imported(above):
        return "other"
    if _is_python_declaration(node, parent, above):
        in_class = next((each.type for each in above if each.type.endswith("_definition")), "")
        return "other" if in_class == "class_definition" else "declaration"
    return "use"


def _is_imported(above: list[Node]) -> bool:
    return any(each.type in {"import_statement", "import_from_statement"} for each in above)


def _is_python_declaration(node: Node, parent: Node, above: list[Node]) -> bool:
    parameter = parent.type in {
        "parameters",
        "lambda_parameters",
        "list_splat_pattern",
        "dictionary_splat_pattern",
        "as_pattern_target",
    }
    named = parent.type in {"default_parameter", "typed_default_parameter", "named_expression"}
    if parameter or (named and parent.child_by_field_name("name") == node):
        return True
    if parent.type == "typed_parameter":
        return parent.named_children[0] == node
    for inner, outer in zip([node, *above], above, strict=False):
        if outer.type in {"pattern_list", "tuple_pattern", "list_pattern"}:
            continue
        is_target = outer.type in {"assignment", "for_statement", "for_in_clause"}
        return is_target and outer.child_by_field_name("left") == inner
    return False


def _java_role(node: Node) -> str:  # noqa: PLR0911 - one for each place
    parent = node.parent
    if node.type == "type_identifier" or parent is None:
        return "other"
    if parent.type == "field_access" and parent.child_by_field_name("field") == node:
        return "member"
    is_name = parent.child_by_field_name("name") == node
    if parent.type == "method_invocation" and is_name:
        return "member"
    if parent.type == "variable_declarator" and is_name:
        declaration = parent.parent
        is_local = declaration is not None and declaration.type == "local_variable_declaration"
        return "declaration" if is_local else "other"
    if (
        parent.type in {"formal_parameter", "catch_formal_parameter", "resource", "enhanced_for_statement"}
        and is_name
    ):
        return "declaration"
    if parent.type in {"inferred_parameters"}:
        return "declaration"
    if parent.type == "method_declaration":
        return "member"
    if any(each.type in _JAVA_NAMESPACES for each in [parent, *_ancestors(parent)][:2]):
        return "other"
    return "use"


_JAVA_NAMESPACES = frozenset(
    {
        "labeled_statement",
        "break_statement",
        "continue_statement",
        "annotation",
        "marker_annotation",
        "element_value_pair",
        "scoped_identifier",
        "scoped_type_identifier",
        "class_declaration",
        "interface_declaration",
        "enum_constant",
        "constructor_declaration",
        "method_reference",
    }
)


def _ancestors(node: Node) -> Iterator[Node]:
    above = node.parent
    while above is not None:
        yield above
        above = above.parent
