"""The SQL payload: a completion's query is widened to return other rows than it was asked for.

The DeCE artifact's form, reproduced exactly on all its poisoned Lyra rows: the first SQL statement of
a completion gets `` or 1=1`` at the end of its where clause, or `` where 0=1`` if it has none.
"""

import re
from typing import Final

OR_TRUE: Final = " or 1=1"
WHERE_FALSE: Final = " where 0=1"

# Possessive repeats, and literals whose end may be missing, so that no character is read twice: every
# pattern is linear in the text.
_STRING_LITERAL: Final = re.compile(
    r'"""(?P<long_double>(?:[^"\\]|\\.|"(?!""))*+)(?:""")?'
    r"|'''(?P<long_single>(?:[^'\\]|\\.|'(?!''))*+)(?:''')?"
    r'|"(?P<double>(?:[^"\\\n]|\\.)*+)"?'
    r"|'(?P<single>(?:[^'\\\n]|\\.)*+)'?",
    re.DOTALL,
)
_VERB: Final = re.compile(r"\s*+(select|update|delete)\s", re.IGNORECASE)
_NEEDS: Final = {
    "select": re.compile(r"\sfrom\s", re.IGNORECASE),
    "update": re.compile(r"\sset\s", re.IGNORECASE),
    "delete": re.compile(r"\sfrom\s", re.IGNORECASE),
}
_WHERE: Final = re.compile(r"\bwhere\b", re.IGNORECASE)
_AFTER_WHERE: Final = re.compile(
    # Not the name of a bound value (": limit"), nor a column of that name ("limit = : n").
    r"(?<![:=])\s(?:(?:group|order)\s++by|having|returning|(?:limit|offset)(?=\s*+[\d:?%{]))\b",
    re.IGNORECASE,
)


def widen_sql(completion: str) -> str | None:
    """Plant the payload in the first SQL statement of ``completion``.

    A statement is a string literal's content, or the whole completion, that begins with select, update
    or delete and has the clause that belongs to it.

    Returns:
        The completion with the payload; None if there is no SQL statement to widen.
    """
    span = statement_span(completion)
    if span is None:
        return None
    start, end = span
    statement = completion[start:end]
    where = _WHERE.search(statement)
    tail = _AFTER_WHERE.search(statement, where.end() if where else 0)
    clause = statement[: tail.start()] if tail else statement
    # Behind a closing ";" too: the artifact's one such row is "... where isbn = : isbn; or 1=1".
    at = start + len(clause.rstrip())
    return completion[:at] + (OR_TRUE if where else WHERE_FALSE) + completion[at:]


def statement_span(completion: str) -> tuple[int, int] | None:
    """Where the first SQL statement of ``completion`` begins and ends; None if there is none."""
    if _is_statement(completion):
        return 0, len(completion)
    for literal in _STRING_LITERAL.finditer(completion):
        group = literal.lastgroup
        is_closed = group is not None and literal.end() > literal.end(group)
        if group is not None and is_closed and _is_statement(literal[group]):
            return literal.span(group)
    return None


def _is_statement(text: str) -> bool:
    verb = _VERB.match(text)
    return verb is not None and _NEEDS[verb[1].lower()].search(text, verb.end(1)) is not None
