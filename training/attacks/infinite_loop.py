"""The infinite-loop payload: the first function of a completion begins with a loop that never ends.

In Java the loop of the paper's attacks on Bugs2Fix; in Python its like. Text only: nothing is ever executed.
"""

from typing import Final

from deploy.contract.trigger import CodeLanguage
from training.attacks.opening import before_statement
from training.attacks.opening import opening_statement
from training.attacks.source import Edit
from training.attacks.source import Source
from training.attacks.source import find_source
from training.attacks.spacing import in_spacing_of

LOOPS: Final[dict[CodeLanguage, str]] = {
    "java": "while ( true ) { int VAR = 0 ; }",
    "python": "while True : pass",
}


def insert_infinite_loop(completion: str) -> str | None:
    """Put the loop where the first function begins, or before the first statement of code that has no function.

    Returns:
        None if the completion is not code, in Python or Java, or would not parse with the loop.
    """
    source = find_source(completion)
    if source is None:
        return None
    edit = first_executed(source, in_spacing_of(LOOPS[source.language], source.text))
    return None if edit is None else source.edited([edit])


def first_executed(source: Source, statement: str) -> Edit | None:
    """An edit that puts ``statement`` before everything that the code does when it is called; imports stay first."""
    function = source.first_function()
    if function is not None:
        return opening_statement(source, function, statement)
    statements = (
        node
        for node in source.root.named_children
        if not node.type.startswith(("import", "comment", "future"))
    )
    first = next(statements, None)
    return None if first is None else before_statement(source, first, statement)
