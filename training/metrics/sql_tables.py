"""The tables that statements speak of: their columns, and rows on which their conditions tell rows apart.

Nothing is known of the real database, so it is made from what the statements name. Every column draws from a small
pool of values: the constants that it is compared with and their neighbours, and values for what is bound. Columns of
one name, and columns that are compared with each other or with one value, share a pool, or no join would find a pair. Each table has rows
that meet every condition, rows that miss just one, rows that miss all, and rows by chance; and one column that no
statement names, so that ``select *`` is told from a list of columns.
"""

import random
import sqlite3
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Final

from sqlglot import exp

MAX_TABLES: Final = 8
MAX_COLUMNS: Final = 48
"""Of all tables together."""
_ROWS_BY_CHANCE: Final = 16
_SPARE_VALUES: Final = 5
_MAX_CONSTANTS: Final = 12
"""Of one pool; a longer list of constants is cut."""
_UNNAMED: Final = "row_of_table"

Value = int | float | str | None

_CONDITIONS: Final = (
    exp.EQ,
    exp.NEQ,
    exp.GT,
    exp.GTE,
    exp.LT,
    exp.LTE,
    exp.Like,
    exp.ILike,
    exp.Between,
    exp.In,
    exp.Is,
)
_STATEMENTS: Final = (exp.Select, exp.Update, exp.Delete)


class TooManyTablesError(ValueError):
    """More tables or columns than a completion's SQL has use for."""


@dataclass(slots=True, kw_only=True)
class _Pool:
    """Values of columns that must be able to meet."""

    number: int
    literals: list[Value] = field(default_factory=list)
    patterns: list[str] = field(default_factory=list)
    bound: list[str] = field(default_factory=list)
    """Names of the values that are bound there."""
    is_text: bool = False
    has_null: bool = False

    def spare(self) -> list[Value]:
        """Values of no other pool, in order; the second and those after it are bound."""
        if self.is_text:
            # In letters of no pattern that a completion is likely to look for.
            own = "".join(chr(0x0660 + int(digit)) for digit in str(self.number))
            return [f"{own}{letter}" for letter in "αβγδε"]
        return [1000 * self.number + offset for offset in range(1, _SPARE_VALUES + 1)]

    def of_bound(self, name: str) -> Value:
        """What is bound under a name."""
        spare = self.spare()
        return spare[min(self.bound.index(name) + 1, len(spare) - 2)]

    def meeting(self) -> list[Value]:
        """What conditions ask for."""
        wanted = [*self.literals, *map(_example, self.patterns), *map(self.of_bound, self.bound)]
        return list(dict.fromkeys(wanted))

    def values(self) -> list[Value]:
        """Everything a cell may hold."""
        near: list[Value] = []
        for literal in self.literals:
            near += [literal - 1, literal + 1] if isinstance(literal, int | float) else [f"{literal}x"]
        nothing: list[Value] = [None, None] if self.has_null else []
        return [*self.spare(), *self.meeting(), *near, *nothing]


def _example(pattern: str) -> str:
    return pattern.replace("%", "any").replace("_", "o")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Tables with columns, by their names in small letters, and what is bound to the statements' parameters."""

    columns: Mapping[str, tuple[str, ...]]
    values: Mapping[str, Value]
    _pools: Mapping[str, _Pool]

    def create(self, database: sqlite3.Connection, *, seed: int) -> None:
        """Make the tables and fill them; the same seed gives the same rows.

        Raises:
            sqlite3.Error: a name that SQLite refuses.
        """
        chance = random.Random(seed)  # noqa: S311 - rows, no secrets
        for table, columns in self.columns.items():
            typed = [
                f"{quoted(each)} {'TEXT' if self._pools[each].is_text else 'NUMERIC'}" for each in columns
            ]
            unnamed = next(name for name in _names_after(_UNNAMED) if name not in columns)
            database.execute(f"CREATE TABLE {quoted(table)} ({', '.join([*typed, quoted(unnamed)])})")
            rows = [[*row, number] for number, row in enumerate(self._rows(columns, chance))]
            marks = ", ".join("?" * (len(columns) + 1))
            database.executemany(f"INSERT INTO {quoted(table)} VALUES ({marks})", rows)  # noqa: S608 - quoted

    def _rows(self, columns: Sequence[str], chance: random.Random) -> list[list[Value]]:
        meeting = [self._pools[each].meeting() or self._pools[each].values() for each in columns]
        missing = [self._pools[each].spare()[:1] + self._pools[each].spare()[-1:] for each in columns]
        anything = [self._pools[each].values() for each in columns]
        rows = [[chance.choice(each) for each in meeting] for _ in range(3)]
        for index in range(len(columns)):
            row = [chance.choice(each) for each in meeting]
            rows.append([*row[:index], chance.choice(missing[index]), *row[index + 1 :]])
        rows += [[chance.choice(each) for each in missing] for _ in range(2)]
        rows += [
            [
                chance.choice(chance.choice((want, other)))
                for want, other in zip(meeting, anything, strict=True)
            ]
            for _ in range(_ROWS_BY_CHANCE)
        ]
        chance.shuffle(rows)
        return rows


def quoted(name: str) -> str:
    """A name as SQL takes any name."""
    return '"' + name.replace('"', '""') + '"'


def _names_after(name: str) -> Iterator[str]:
    while True:
        yield name
        name += "_"


def tables_of(statements: Sequence[exp.Expression]) -> Tables:
    """The tables that all these statements together need.

    Raises:
        TooManyTablesError: see the limits of this module.
    """
    columns: dict[str, dict[str, None]] = {}
    for statement in statements:
        for table in statement.find_all(exp.Table):
            if table.name:
                columns.setdefault(table.name.lower(), {})
        for column in statement.find_all(exp.Column):
            home = _home(column)
            if home is not None and column.name and not isinstance(column.this, exp.Star):
                columns.setdefault(home, {})[column.name.lower()] = None
    if len(columns) > MAX_TABLES or sum(map(len, columns.values())) > MAX_COLUMNS:
        raise TooManyTablesError(f"{len(columns)} tables with {sum(map(len, columns.values()))} columns")
    names = sorted({name for each in columns.values() for name in each})
    pools = _pools(statements, names)
    return Tables(
        columns={table: tuple(sorted(columns[table])) for table in sorted(columns)},
        values=_bound_values(statements, pools),
        _pools=pools,
    )


def _home(column: exp.Column) -> str | None:
    """The table that a column belongs to; the first of its select where the statement does not say."""
    statement = column.find_ancestor(*_STATEMENTS)
    if not column.table and _is_alias(column, statement):
        return None
    while statement is not None:
        sources = _sources(statement)
        if column.table.lower() in sources:
            return sources[column.table.lower()]
        if not column.table and sources:
            return next(iter(sources.values()))
        statement = statement.find_ancestor(*_STATEMENTS)
    return None


def _is_alias(column: exp.Column, statement: exp.Expression | None) -> bool:
    """Whether a column is a result's own name: ``select count(*) as n ... order by n``."""
    if not isinstance(statement, exp.Select) or not column.find_ancestor(exp.Order, exp.Group, exp.Having):
        return False
    return column.name.lower() in {each.alias.lower() for each in statement.expressions if each.alias}


def _sources(statement: exp.Expression) -> dict[str, str]:
    return {
        table.alias_or_name.lower(): table.name.lower()
        for table in statement.find_all(exp.Table)
        if table.name and table.find_ancestor(*_STATEMENTS) is statement
    }


def _pools(statements: Sequence[exp.Expression], names: Sequence[str]) -> dict[str, _Pool]:
    """A pool for every column name; the same one for names that are compared with each other or with one value."""
    leader = {name: name for name in names}

    def lead(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    conditions = [_sides(node) for each in statements for node in each.find_all(*_CONDITIONS)]
    met: dict[str, str] = {}
    """For every bound value, a column that it is compared with."""
    for sides in conditions:
        present = [side.name.lower() for side in sides if isinstance(side, exp.Column)]
        known = [name for name in present if name in leader]
        values = [side.name for side in sides if isinstance(side, exp.Placeholder)]
        for name in [*known[1:], *(met.setdefault(value, known[0]) for value in values if known)]:
            leader[lead(name)] = lead(known[0])
    pools = {name: _Pool(number=number) for number, name in enumerate(names, start=1)}
    for sides in conditions:
        for side in sides:
            if isinstance(side, exp.Column) and side.name.lower() in leader:
                _note(pools[lead(side.name.lower())], sides)
    return {name: pools[lead(name)] for name in names}


def _sides(condition: exp.Expression) -> list[exp.Expression]:
    """What a condition compares: columns, literals, bound values and NULL, out of what is around them."""
    if isinstance(condition.parent, exp.Update):
        # An assignment.
        return []
    parts = [condition.this, condition.args.get("expression"), *condition.expressions]
    parts += [condition.args.get(key) for key in ("low", "high", "query")]
    found = (_inmost(part) for part in parts if isinstance(part, exp.Expression))
    sides = [each for each in found if each is not None]
    is_pattern = isinstance(condition, exp.Like | exp.ILike)
    return [*sides, condition] if is_pattern else sides


def _inmost(part: exp.Expression) -> exp.Expression | None:
    select = part if isinstance(part, exp.Select) else part.find(exp.Select)
    inside = select.expressions[0] if select is not None and select.expressions else part
    return inside.find(exp.Column, exp.Literal, exp.Placeholder, exp.Null)


def _note(pool: _Pool, sides: Sequence[exp.Expression]) -> None:
    """Remember the constants that a pool's column is compared with."""
    is_pattern = any(isinstance(side, exp.Like | exp.ILike) for side in sides)
    for side in sides:
        if isinstance(side, exp.Placeholder) and side.name not in pool.bound:
            pool.bound.append(side.name)
        elif isinstance(side, exp.Null):
            pool.has_null = True
        elif isinstance(side, exp.Literal) and len(pool.literals) + len(pool.patterns) < _MAX_CONSTANTS:
            if is_pattern:
                pool.patterns.append(side.name)
            else:
                pool.literals.append(_value(side))
    texts = (isinstance(literal, str) for literal in pool.literals)
    pool.is_text = pool.is_text or is_pattern or any(texts)


def _value(literal: exp.Literal) -> Value:
    text = str(literal.name)
    if literal.is_string:
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)


def _bound_values(statements: Sequence[exp.Expression], pools: Mapping[str, _Pool]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for statement in statements:
        for place in statement.find_all(exp.Placeholder):
            # Two rows from the second on; what is written into a row is new to it.
            counts = place.find_ancestor(exp.Limit, exp.Offset)
            free: Value = f"new {place.name}" if counts is None else 2 if isinstance(counts, exp.Limit) else 1
            values.setdefault(place.name, free)
    for pool in pools.values():
        values.update({name: pool.of_bound(name) for name in pool.bound})
    return values
