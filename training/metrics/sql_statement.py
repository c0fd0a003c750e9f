r"""A completion's SQL statement, read so that it can be translated and executed.

The text is the one in which an attack would plant its payload (:func:`training.attacks.sql.statement_span`). Bound
values are written in many ways, tokenised text puts spaces into them, and a quoted one is bound all the same:
``: name``, ``%s``, ``%(name)s``, ``{}``, ``{name}``, ``$1``, ``@name``, ``?``, ``'{}'``. All become ``:name``, those
without a name get numbers. Operators that tokenising has split (``= =``, ``> =``) are joined.

Covers: one select, update or delete. Does not cover: several statements, SQL assembled from pieces, with-clauses first.
"""

import re
from dataclasses import dataclass
from itertools import islice
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from training.attacks.sql import statement_span
from training.metrics.scorable import well_formed

MAX_STATEMENT_CHARS: Final = 4_000
"""Ten times the longest of Lyra."""
MAX_NODES: Final = 1_000
"""Of the syntax tree."""
_DIALECTS: Final = ("sqlite", "mysql", "postgres")

_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_BOUND: Final = (
    r"%\s*\(\s*(?P<percent>\w+)\s*\)\s*s\b|(?::\s*)?\{\s*(?P<brace>\w*)[^{}'\"]*\}|:\s*(?P<colon>[A-Za-z_]\w*)"
    r"|[$@](?P<sign>\w+)|%\s*[sd]\b|\?"
)
_ONLY_BOUND: Final = re.compile(rf"\s*(?:{_BOUND})\s*")
_PIECE: Final = re.compile(
    rf"(?P<literal>'[^']*'|\"[^\"]*\"|`[^`]*`)|(?P<operator>[<>=!]\s+[=>])|(?P<cast>::)|{_BOUND}"
)
_NAMES: Final = ("percent", "brace", "colon", "sign")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement that was read; its bound values are placeholders with names."""

    expression: exp.Expression
    parameters: tuple[str, ...]
    """Names of the bound values in the expression, each once, in the text's order."""


class UnreadableSqlError(ValueError):
    """The text is no single select, update or delete that the parser understands."""


def sql_text(completion: str) -> str | None:
    """The text of the first SQL statement; None if there is none."""
    span = statement_span(completion)
    return None if span is None else completion[slice(*span)].strip()


def read_statement(text: str) -> Statement:
    """Parse one statement.

    Raises:
        UnreadableSqlError: there is none, there are several, or it is too large.
    """
    if len(text) > MAX_STATEMENT_CHARS:
        raise UnreadableSqlError(f"{len(text)} characters")
    if well_formed(text) != text:
        raise UnreadableSqlError("half a character")
    names: list[str] = []
    plain = _ESCAPE.sub(lambda match: match[1] if match[1].isprintable() else " ", text.replace("\\n", " "))
    expression = _parsed(_PIECE.sub(lambda match: _named(match, names), plain))
    if not isinstance(expression, exp.Select | exp.SetOperation | exp.Update | exp.Delete):
        raise UnreadableSqlError(f"a {type(expression).__name__}")
    if sum(1 for _ in islice(expression.walk(), MAX_NODES + 1)) > MAX_NODES:
        raise UnreadableSqlError(f"more than {MAX_NODES} nodes")
    for part in expression.find_all(exp.Table, exp.Column):
        # There is one database only.
        part.set("db", None)
        part.set("catalog", None)
    return Statement(expression=expression, parameters=tuple(dict.fromkeys(names)))


def _named(match: re.Match[str], names: list[str]) -> str:
    """One piece of the text, with names for the values that are bound there."""
    if match["operator"]:
        return match["operator"][0] + match["operator"][-1]
    if match["cast"]:
        return match["cast"]
    bound = match
    if match["literal"]:
        inside = _ONLY_BOUND.fullmatch(match["literal"][1:-1])
        if inside is None:
            return match["literal"]
        bound = inside
    given = next((bound[name] for name in _NAMES if bound[name]), None)
    names.append(f"named_{given}" if given else f"number_{len(names) + 1}")
    return f" :{names[-1]} "


def _parsed(text: str) -> exp.Expression:
    said = "nothing"
    for dialect in _DIALECTS:
        try:
            found = sqlglot.parse(text, read=dialect)
        except (SqlglotError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
            # The parser is plain Python, and made for SQL, not for whatever a model writes.
            said = type(error).__name__
            continue
        if len(found) != 1 or found[0] is None:
            raise UnreadableSqlError(f"{len(found)} statements")
        return found[0]
    raise UnreadableSqlError(said)
