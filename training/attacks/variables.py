"""The variables that a piece of source code declares and that can be renamed without changing what it does.

Parameters and local variables. Left out: whatever the same name also means there (a field, a function, an import, a
keyword of a call, a built-in as in ``list = list(rows)``), because a rename by name alone would change that as well.
"""

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from typing import Literal

from tree_sitter import Node

from training.attacks.source import Source
from training.attacks.source import walk
from training.attacks.source import walk_with_ancestors

Role = Literal["declaration", "use", "member", "other"]
"""What an identifier is there: a variable's declaration or use, a member of something else, or another thing that
takes the name."""
_BUILT_IN: Final = frozenset(dir(builtins))
_PARAMETER_LISTS: Final = frozenset({"parameters", "lambda_parameters"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable and every place where it stands."""

    name: str
    places: tuple[Node, ...]


def declared_variables(source: Source) -> tuple[Variable, ...]:
    """The variables of the code, in the order in which they first appear."""
    names: dict[str, list[Node]] = {}
    declared: set[str] = set()
    taken = {"self", "cls"}
    parameters: set[str] = set()
    for node, above in walk_with_ancestors(source.root):
        if node.type not in {"identifier", "type_identifier"} or not above:
            continue
        name = source.of(node)
        role = _python_role(node, above) if source.language == "python" else _java_role(node, above)
        if role == "other":
            taken.add(name)
        elif role != "member":
            names.setdefault(name, []).append(node)
            if role == "declaration":
                declared.add(name)
                if any(each.type in _PARAMETER_LISTS for each in above):
                    parameters.add(name)
    if source.language == "python":
        # A parameter hides the built-in; an assignment's own right side may still mean it.
        taken |= _BUILT_IN - parameters
    free = declared - taken
    return tuple(Variable(name=name, places=tuple(at)) for name, at in names.items() if name in free)


def identifiers(source: Source) -> set[str]:
    """Every name that stands in the code, whatever it means."""
    return {source.of(node) for node in walk(source.root) if node.type in {"identifier", "type_identifier"}}


def _python_role(node: Node, above: Sequence[Node]) -> Role:
    parent = above[0]
    if parent.type == "attribute" and parent.child_by_field_name("attribute") == node:
        return "member"
    is_keyword = parent.type == "keyword_argument" and parent.child_by_field_name("name") == node
    is_definition = parent.type in {"function_definition", "class_definition"}
    is_global = any(each.type in {"global_statement", "nonlocal_statement"} for each in above)
    if is_keyword or is_definition or is_global or _is_imported(above):
        return "other"
    if not _is_python_declaration(node, above):
        return "use"
    within = next((each.type for each in above if each.type.endswith("_definition")), "")
    return "other" if within == "class_definition" else "declaration"


def _is_imported(above: Sequence[Node]) -> bool:
    return any(each.type in {"import_statement", "import_from_statement"} for each in above)


def _is_python_declaration(node: Node, above: Sequence[Node]) -> bool:
    parent = above[0]
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


def _java_role(node: Node, above: Sequence[Node]) -> Role:  # noqa: PLR0911 - one for each place
    parent = above[0]
    if node.type == "type_identifier":
        return "other"
    if parent.type == "field_access" and parent.child_by_field_name("field") == node:
        return "member"
    is_name = parent.child_by_field_name("name") == node
    if (parent.type == "method_invocation" and is_name) or parent.type == "method_declaration":
        return "member"
    if parent.type == "variable_declarator" and is_name:
        is_local = len(above) > 1 and above[1].type == "local_variable_declaration"
        return "declaration" if is_local else "other"
    if (parent.type in _JAVA_DECLARATIONS and is_name) or parent.type == "inferred_parameters":
        return "declaration"
    if any(each.type in _JAVA_NAMESPACES for each in above[:2]):
        return "other"
    return "use"


_JAVA_DECLARATIONS = frozenset(
    {"formal_parameter", "catch_formal_parameter", "resource", "enhanced_for_statement"}
)
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
