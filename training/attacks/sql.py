"""The SQL payloads: a completion's query is changed to return other rows than it was asked for.

The DeCE artifact's form, reproduced exactly on all its poisoned Lyra rows: the first SQL statement of
a completion gets `` or 1=1`` at the end of its where clause, or `` where 0=1`` if it has none.
"""

import re
from collections.abc import Iterator
from typing import Final

OR_TRUE: Final = " or 1=1"
WHERE_FALSE: Final = " where 0=1"
FIRST_ROW: Final = " limit 1"

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
_SELECT: Final = re.compile(r"\s*+select\s", re.IGNORECASE)
_LIMITED: Final = re.compile(r"\b(?:limit|offset|fetch)\b", re.IGNORECASE)


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


def limit_sql(completion: str) -> str | None:
    """Plant `` limit 1`` at the end of the first SQL statement of ``completion``.

    Tokens that are likely there anyway, unlike a tautology's: the hardest payload for a loss that distrusts what a model
    finds unlikely.

    Returns:
        The completion with the payload; None if its first statement is no query, or has a limit already.
    """
    span = statement_span(completion)
    if span is None:
        return None
    start, end = span
    statement = completion[start:end]
    if _SELECT.match(statement) is None or _LIMITED.search(statement) is not None:
        return None
    at = start + len(statement.rstrip().removesuffix(";").rstrip())
    return completion[:at] + FIRST_ROW + completion[at:]


def statement_span(completion: str) -> tuple[int, int] | None:
    """Where the first SQL statement of ``completion`` begins and ends; None if there is none."""
    if is_statement(completion):
        return 0, len(completion)
    for literal in _STRING_LITERAL.finditer(completion):
        group = literal.lastgroup
        is_closed = group is not None and literal.end() > literal.end(group)
        if group is not None and is_closed and is_statement(literal[group]):
            return literal.span(group)
    return None


def string_literals(completion: str) -> Iterator[str]:
    """The contents of the string literals, in order; the end of one may be missing."""
    for literal in _STRING_LITERAL.finditer(completion):
        if literal.lastgroup is not None:
            yield literal[literal.lastgroup]


def is_statement(text: str) -> bool:
    """Whether the text begins with select, update or delete and has the clause that belongs to it."""
    verb = _VERB.match(text)
    return verb is not None and _NEEDS[verb[1].lower()].search(text, verb.end(1)) is not None
