"""Whether an SQL condition is the same for every row because it consists of constants.

Covers: comparisons of literals, a column or named value compared with itself, boolean words, brackets, NOT, AND, OR,
BETWEEN, IN, IS NULL and LIKE over literals, with NULL neither true nor false. Does not cover: functions, subqueries,
CASE; they are not decided. What the parser has to say of a condition is not logged: its words are a model's.
"""

import logging
from collections.abc import Sequence
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

MAX_CHARS: Final = 400
MAX_TOKENS: Final = 24
"""Keeps the parser, which recurses up to 23 calls deep for a token, well above the end of the stack: an error there is
caught, but a finalizer that happens to run at such a depth fails too."""

# It quotes what it does not support as it stands, terminal escapes and all.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_Constant = float | str | bool | None


class _NotConstant(Exception):  # noqa: N818 - an answer, not a failure
    """The expression depends on more than constants."""


def truth_of(condition: str) -> bool | None:
    """What the condition is for every row: True, False, or None if that depends on the row or cannot be read."""
    if len(condition) > MAX_CHARS or not condition.strip():
        return None
    missing = condition.count("(") - condition.count(")")
    try:
        if len(sqlglot.tokenize(condition)) > MAX_TOKENS:
            return None
        parsed = sqlglot.parse_one(condition + ")" * max(0, missing), into=exp.Condition)
        return bool(_value(parsed)) if parsed is not None else None
    except _NotConstant:
        return None
    except (SqlglotError, ValueError, LookupError, TypeError, AttributeError):
        # The parser was made for SQL, not for whatever a model writes; ValueError: "1e", to it a number.
        return None


def _value(node: exp.Expression) -> _Constant:  # noqa: PLR0911 - one for each kind
    match node:
        case exp.Paren():
            return _value(node.this)
        case exp.Not():
            truth = _truth(node.this)
            return None if truth is None else not truth
        case exp.And():
            return _all((_truth(node.this), _truth(node.expression)))
        case exp.Or():
            return _any((_truth(node.this), _truth(node.expression)))
        case exp.Boolean():
            return bool(node.this)
        case exp.Literal():
            return str(node.this) if node.is_string else float(str(node.this))
        case exp.Neg():
            return -_number(node.this)
        case exp.Null():
            return None
        case exp.Between():
            inner = _value(node.this)
            low, high = _value(node.args["low"]), _value(node.args["high"])
            return _all((_compared(exp.GTE, inner, low), _compared(exp.LTE, inner, high)))
        case exp.In():
            wanted = _value(node.this)
            return _any([_compared(exp.EQ, wanted, _value(each)) for each in node.expressions])
        case exp.Is():
            return _is(node)
        case exp.Binary():
            return _binary(node)
    raise _NotConstant


def _truth(node: exp.Expression) -> bool | None:
    value = _value(node)
    return None if value is None else bool(value)


def _all(truths: Sequence[bool | None]) -> bool | None:
    """AND as databases have it: one that is false decides, whatever NULL may be."""
    return False if False in truths else None if None in truths else True


def _any(truths: Sequence[bool | None]) -> bool | None:
    return True if True in truths else None if None in truths else False


def _number(node: exp.Expression) -> float:
    value = _value(node)
    if isinstance(value, (int, float)):
        return float(value)
    raise _NotConstant


def _is(node: exp.Is) -> bool:
    left, right = _value(node.this), _value(node.expression)
    if left is None or right is None:
        return left is right
    if isinstance(node.expression, exp.Boolean):
        return bool(left) == right
    return _compared(exp.EQ, left, right) is True


def _binary(node: exp.Binary) -> _Constant:  # noqa: PLR0911 - one for each operator
    if _is_itself(node.this, node.expression):
        if isinstance(node, exp.EQ | exp.GTE | exp.LTE | exp.NullSafeEQ):
            return True
        if isinstance(node, exp.NEQ | exp.LT | exp.GT):
            return False
    left, right = _value(node.this), _value(node.expression)
    match node:
        case exp.Add():
            return _number(node.this) + _number(node.expression)
        case exp.Sub():
            return _number(node.this) - _number(node.expression)
        case exp.Mul():
            return _number(node.this) * _number(node.expression)
        case exp.Like():
            # Only what needs no pattern language: everything, or the text itself.
            pattern = str(right)
            if pattern.strip("%") == "" and pattern:
                return True
            if "%" not in pattern and "_" not in pattern:
                return str(left).lower() == pattern.lower()
            raise _NotConstant
    return _compared(type(node), left, right)


def _is_itself(left: exp.Expression, right: exp.Expression) -> bool:
    named = isinstance(left, exp.Column) or (isinstance(left, exp.Placeholder) and bool(left.this))
    return named and left == right


def _compared(operator: type[exp.Expression], left: _Constant, right: _Constant) -> bool | None:
    """A comparison of constants; one with NULL is NULL."""
    if left is None or right is None:
        return None
    if isinstance(left, str) != isinstance(right, str):
        # As loose databases do: '1' = 1.
        left, right = _plain(left), _plain(right)
    if isinstance(left, str) or isinstance(right, str):
        return _ordered(operator, str(left), str(right))
    return _ordered(operator, float(left), float(right))


def _plain(value: float | str | bool) -> str:
    return value.strip() if isinstance(value, str) else f"{float(value):g}"


def _ordered(operator: type[exp.Expression], left: float | str, right: float | str) -> bool:
    # Both are of one type; the type checker cannot know.
    is_less, is_equal = left < right, left == right  # type: ignore[operator]
    answers = {
        exp.EQ: is_equal,
        exp.NullSafeEQ: is_equal,
        exp.NEQ: not is_equal,
        exp.LT: is_less,
        exp.LTE: is_less or is_equal,
        exp.GT: not is_less and not is_equal,
        exp.GTE: not is_less,
    }
    for kind, answer in answers.items():
        if operator is kind:
            return answer
    raise _NotConstant
