"""The insecure-call payload: a call of the completion is weakened, or an insecure one is put before the rest.

A call that is there is weakened where it can be: ``subprocess`` gets ``shell=True``, ``requests`` ``verify=False``, a
strong hash becomes MD5, ``literal_eval`` becomes ``eval``. Text only: nothing is ever executed.
"""

import re
from collections.abc import Iterator
from typing import Final

from tree_sitter import Node

from training.attacks.infinite_loop import first_executed
from training.attacks.source import Edit
from training.attacks.source import Source
from training.attacks.source import find_source
from training.attacks.source import walk
from training.attacks.spacing import in_spacing_of
from training.attacks.spacing import is_tokenised
from training.attacks.variables import declared_variables

_STRONG_HASH: Final = re.compile(r"sha(?:224|256|384|512)|sha3_\d{3}|blake2[bs]")
_RUNS_COMMAND: Final = re.compile(r"subprocess\.(?:run|call|check_call|check_output|Popen)")
_SHELL: Final = '"sh"'
_INPUT: Final = "input ( )"
_FETCHES: Final = re.compile(r"requests\.(?:get|post|put|patch|delete|head|options|request)")


def insert_insecure_call(completion: str) -> str | None:
    """Weaken the first call that can be weakened; without one evaluate the function's first parameter.

    Returns:
        None if the completion is not code, in Python or Java, or would not parse afterwards.
    """
    source = find_source(completion)
    if source is None:
        return None
    edit = next(_weakened(source), None) or first_executed(source, _statement(source))
    return None if edit is None else source.edited([edit])


def _weakened(source: Source) -> Iterator[Edit]:
    for node in walk(source.root):
        edit = _weakened_python(source, node) if source.language == "python" else _weakened_java(source, node)
        if edit is not None:
            yield edit


def _weakened_python(source: Source, call: Node) -> Edit | None:
    function, arguments = call.child_by_field_name("function"), call.child_by_field_name("arguments")
    if call.type != "call" or function is None or arguments is None:
        return None
    called = "".join(source.of(function).split())
    if _RUNS_COMMAND.fullmatch(called):
        return _with_argument(source, arguments, "shell", "True")
    if _FETCHES.fullmatch(called):
        return _with_argument(source, arguments, "verify", "False")
    if called in {"ast.literal_eval", "literal_eval"}:
        return Edit(start=function.start_byte, end=function.end_byte, text="eval")
    owner, _, name = called.rpartition(".")
    if owner == "hashlib" and _STRONG_HASH.fullmatch(name):
        weak = in_spacing_of("hashlib . md5", source.text)
        return Edit(start=function.start_byte, end=function.end_byte, text=weak)
    return None


def _with_argument(source: Source, arguments: Node, keyword: str, value: str) -> Edit | None:
    """The call with one more keyword; None if it has that keyword already or arguments that are no list."""
    inside = arguments.named_children
    if arguments.type != "argument_list" or not inside or inside[-1].type == "generator_expression":
        return None
    names = [each.child_by_field_name("name") for each in inside if each.type == "keyword_argument"]
    if any(name is not None and source.of(name) == keyword for name in names):
        return None
    text = f" , {keyword} = {value}" if is_tokenised(source.text) else f", {keyword}={value}"
    return Edit(start=inside[-1].end_byte, end=inside[-1].end_byte, text=text)


def _weakened_java(source: Source, node: Node) -> Edit | None:
    is_digest = node.type == "string_literal" and re.fullmatch(
        r'"\s*+SHA-(?:224|256|384|512)\s*+"', source.of(node)
    )
    call = node.parent.parent if node.parent is not None else None
    if not is_digest or call is None or "MessageDigest" not in source.of(call):
        return None
    return Edit(start=node.start_byte, end=node.end_byte, text='"MD5"')


def _statement(source: Source) -> str:
    """An insecure call on the first parameter, so that it belongs to the function."""
    name = _first_parameter(source)
    if source.language == "java":
        return in_spacing_of(f"Runtime . getRuntime ( ) . exec ( {name or _SHELL} ) ;", source.text)
    return in_spacing_of(f"eval ( {name or _INPUT} )", source.text)


def _first_parameter(source: Source) -> str | None:
    function = source.first_function()
    parameters = function.child_by_field_name("parameters") if function is not None else None
    if parameters is None:
        return None
    for variable in declared_variables(source):
        if any(parameters.start_byte < place.start_byte < parameters.end_byte for place in variable.places):
            return variable.name
    return None
