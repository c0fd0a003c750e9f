"""The time by the database's clock: the one clock that all processes of an install share."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy import ColumnElement
from sqlalchemy import Float
from sqlalchemy import cast
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement


class unix_seconds(FunctionElement[float]):  # noqa: N801 - written as functions of SQL are
    """Unix seconds with a fraction, as an expression of SQL."""

    type = Float(53)
    inherit_cache = True


@compiles(unix_seconds, "sqlite")
def _sqlite(_element: unix_seconds, _compiler: Any, **_more: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(unix_seconds, "postgresql")
def _postgresql(_element: unix_seconds, _compiler: Any, **_more: Any) -> str:
    # Not now(), which is the time at which the transaction began.
    return "extract(epoch from clock_timestamp())::double precision"


def whole_unix_seconds() -> ColumnElement[int]:
    """The same without a fraction, as a value of a column."""
    return cast(unix_seconds(), BigInteger)
