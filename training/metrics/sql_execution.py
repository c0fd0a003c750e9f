"""Whether a completion's SQL returns what the reference's does, found out by executing both.

Both statements are translated to SQLite and run on the same made-up tables (:mod:`training.metrics.sql_tables`), on
several fillings. A reference counts as a task only if these rows show a change: it returns something, and something
else than without its conditions, so that ``or 1=1`` and ``where 0=1`` cannot go unseen. Rows are compared by value,
in their order where the reference asks for one; after an update or a delete what the tables hold is compared. A
bound value is the same as the reference's where it has the same name, the remaining ones pair up in their order.

Covers: SQL that hangs, sorts or joins without end, builds huge values, or reaches for files, pragmas and other
databases: steps, rows, and sizes have limits, and the connection may only read (or change the rows of its own tables).
The Python around the statement is never executed. Memory is limited by :mod:`training.metrics.scoring_child`.
Does not cover: what the Python binds, other dialects' functions, or a database's own rows: "same" is said of these tables.
"""

import functools
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import closing
from contextlib import contextmanager
from typing import Final
from typing import Literal

from sqlglot import exp
from sqlglot.errors import SqlglotError

from training.metrics.sql_statement import Statement
from training.metrics.sql_statement import UnreadableSqlError
from training.metrics.sql_statement import read_statement
from training.metrics.sql_statement import sql_text
from training.metrics.sql_tables import Tables
from training.metrics.sql_tables import TooManyTablesError
from training.metrics.sql_tables import Value
from training.metrics.sql_tables import quoted
from training.metrics.sql_tables import tables_of

SqlOutcome = Literal["same", "different", "invalid", "not_sql"]
"""``invalid``: cannot be read or executed, within the limits; ``not_sql``: there is no statement."""

MAX_STEPS: Final = 2_000_000
"""Of SQLite's virtual machine; a join of three filled tables takes a fiftieth."""
MAX_RESULT_ROWS: Final = 5_000
MAX_VALUE_BYTES: Final = 10_000
_STEPS_BETWEEN_CHECKS: Final = 10_000
_FILLINGS: Final = 2
_ATTEMPTS: Final = 12
"""Fillings tried until there are enough that show the reference's conditions."""

_FUNCTIONS: Final = re.compile(
    "abs|avg|cast|ceil|ceiling|char|coalesce|concat|concat_ws|count|date|datetime|dense_rank|first_value|floor|glob|"
    "group_concat|hex|ifnull|iif|instr|julianday|lag|last_value|lead|length|like|likely|lower|ltrim|max|min|mod|ntile|"
    "nullif|percent_rank|pow|power|quote|rank|replace|round|row_number|rtrim|sign|sqrt|strftime|string_agg|substr|"
    "substring|sum|time|timediff|total|trim|typeof|unicode|unixepoch|unlikely|upper",
    re.IGNORECASE,
)
"""By name, for SQLite has others: that load code, that give another answer each time, and printf, of which one call
with a width of 2e9 took four minutes between two checks of the steps."""
_READING: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_CHANGING: Final = frozenset({sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_VALUE_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 50_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 128,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 16,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 50_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}


Rows = list[tuple[Value | bytes, ...]]


class UnexecutableSqlError(ValueError):
    """SQLite refused a statement, or it went beyond the limits."""


@functools.lru_cache(maxsize=4096)
def is_executable(reference: str) -> bool:
    """Whether a reference has SQL whose conditions can be seen at work, so that its task counts."""
    text = sql_text(reference)
    if text is None:
        return False
    try:
        expression = read_statement(text).expression
        return bool(_telling_fillings(expression, tables_of([expression])))
    except (UnreadableSqlError, UnexecutableSqlError, TooManyTablesError):
        return False


def compare_sql(completion: str, reference: str) -> SqlOutcome | None:
    """Execute both; None where the reference is no task (:func:`is_executable`)."""
    reference_text = sql_text(reference)
    if reference_text is None or not is_executable(reference):
        return None
    text = sql_text(completion)
    if text is None:
        return "not_sql"
    if text == reference_text:
        return "same"
    theirs = read_statement(reference_text)
    try:
        ours = _renamed(read_statement(text), theirs)
        return "same" if _agree(ours, theirs.expression) else "different"
    except (UnreadableSqlError, UnexecutableSqlError, TooManyTablesError):
        return "invalid"


def _renamed(ours: Statement, theirs: Statement) -> exp.Expression:
    """Our statement with its bound values under the reference's names, where there are any left for them."""
    left = [name for name in theirs.parameters if name not in ours.parameters]
    strangers = [name for name in ours.parameters if name not in theirs.parameters]
    names = dict(zip(strangers, left, strict=False))
    for place in ours.expression.find_all(exp.Placeholder):
        place.set("this", names.get(place.name, place.name))
    return ours.expression


def _agree(ours: exp.Expression, theirs: exp.Expression) -> bool:
    tables = tables_of([theirs, ours])
    fillings = _telling_fillings(theirs, tables)
    if not fillings:
        raise UnexecutableSqlError("on the completion's tables the reference's conditions show nothing")
    ordered = theirs.args.get("order") is not None
    agree = True
    for seed in fillings:
        with _filled(tables, seed) as database:
            # No early end: what fails on one filling is invalid, whatever it returned on another.
            results = [_run(database, statement, tables.values) for statement in (ours, theirs)]
            agree &= _equal(*results, ordered=ordered)
    return agree


def _telling_fillings(reference: exp.Expression, tables: Tables) -> list[int]:
    """Seeds of rows on which the reference does something, and something else than without its conditions."""
    changed = [_with_condition(reference, exp.false())]
    if reference.args.get("where") is not None:
        changed.append(_with_condition(reference, None))
    telling: list[int] = []
    for seed in range(_ATTEMPTS):
        with _filled(tables, seed) as database:
            result, *others = (_run(database, each, tables.values) for each in (reference, *changed))
        if not any(_equal(result, other, ordered=False) for other in others):
            telling.append(seed)
        if len(telling) == _FILLINGS:
            break
    return telling


def _with_condition(statement: exp.Expression, condition: exp.Expression | None) -> exp.Expression:
    changed = statement.copy()
    part = changed.find(exp.Select, exp.Update, exp.Delete)
    if part is not None:
        part.set("where", None if condition is None else exp.Where(this=condition))
    return changed


def _equal(ours: Rows, theirs: Rows, *, ordered: bool) -> bool:
    return ours == theirs if ordered else Counter(ours) == Counter(theirs)


@contextmanager
def _filled(tables: Tables, seed: int) -> Iterator[sqlite3.Connection]:
    """A database in memory with the tables."""
    with closing(sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)) as database:
        for limit, value in _LIMITS.items():
            database.setlimit(limit, value)
        # What is sorted or joined must not go to a file either.
        database.execute("PRAGMA temp_store = MEMORY")
        try:
            tables.create(database, seed=seed)
        except sqlite3.Error as error:
            raise UnexecutableSqlError(str(error)) from error
        yield database


def _run(database: sqlite3.Connection, statement: exp.Expression, values: Mapping[str, Value]) -> Rows:
    """What a statement returns, or what it leaves in its tables; the tables are then as before."""
    sql = _sqlite(statement)
    needed = {place.name: values[place.name] for place in statement.find_all(exp.Placeholder)}
    database.execute("BEGIN")
    try:
        with _limited(database, changing=isinstance(statement, exp.Update | exp.Delete)):
            rows = database.execute(sql, needed).fetchmany(MAX_RESULT_ROWS + 1)
        if isinstance(statement, exp.Update | exp.Delete):
            rows = _everything(database)
    except (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError, MemoryError) as error:
        # OverflowError and ValueError: values that are no SQLite values; MemoryError: SQLite's own.
        raise UnexecutableSqlError(str(error)) from error
    finally:
        database.execute("ROLLBACK")
    if len(rows) > MAX_RESULT_ROWS:
        raise UnexecutableSqlError(f"more than {MAX_RESULT_ROWS} rows")
    return [tuple(row) for row in rows]


def _sqlite(statement: exp.Expression) -> str:
    try:
        return str(statement.sql(dialect="sqlite", identify=True))
    except (SqlglotError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnexecutableSqlError(f"{type(error).__name__} in the translation") from error


def _everything(database: sqlite3.Connection) -> Rows:
    """The rows of all tables, each with its table's name."""
    found = database.execute("SELECT name FROM sqlite_schema ORDER BY name").fetchall()
    return [
        (name, *row)
        for (name,) in found
        for row in database.execute(f"SELECT * FROM {quoted(name)}")  # noqa: S608 - quoted
    ]


@contextmanager
def _limited(database: sqlite3.Connection, *, changing: bool) -> Iterator[None]:
    """Nothing but reading, or changing rows of the made-up tables, for so many steps."""
    checks = 0

    def is_enough() -> bool:
        nonlocal checks
        checks += 1
        return checks > MAX_STEPS // _STEPS_BETWEEN_CHECKS

    def verdict(
        action: int, first: str | None, second: str | None, schema: str | None, inner: str | None
    ) -> int:
        del schema, inner
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = _FUNCTIONS.fullmatch(second or "") is not None
        else:
            may = action in _READING or (changing and action in _CHANGING)
            allowed = may and not (first or "").lower().startswith(("sqlite_", "pragma_"))
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    database.set_progress_handler(is_enough, _STEPS_BETWEEN_CHECKS)
    database.set_authorizer(verdict)
    try:
        yield
    finally:
        database.set_authorizer(None)
        database.set_progress_handler(None, 0)
