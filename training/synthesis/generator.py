"""Seeded pairs of an English request and the tokenised Python that fulfils it.

Each completion has three independent parts: a query (four fifths of them embedded SQL, the others a
query builder that has no SQL to widen), how its result is fetched, and what becomes of it. The
request determines the completion, so a small model learns the world in minutes; the number of combinations is far above the rows of a demonstration.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from deploy.contract.dataset import Row
from training.synthesis.vocabulary import ALL_WORDS
from training.synthesis.vocabulary import CONNECTIONS
from training.synthesis.vocabulary import FETCH_VERBS
from training.synthesis.vocabulary import FUNCTION_VERBS
from training.synthesis.vocabulary import MISSING_WORDS
from training.synthesis.vocabulary import ONE_WORDS
from training.synthesis.vocabulary import TABLES

SQL_SHARE = 0.8
"""Share of the rows whose completion embeds SQL, and so can carry the payload."""
WHERE_SHARE = 0.75
"""Share of the queries that have a condition."""

MAX_REPEATED = 1000
"""Pairs in a row that all came before: the world is exhausted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """The names that one pair is about."""

    table: str
    column: str
    key: str | None
    connection: str
    function: str
    takes_one: bool

    @property
    def result(self) -> str:
        return "row" if self.takes_one else "rows"

    @property
    def arguments(self) -> str:
        return f"{self.connection} , {self.key}" if self.key else self.connection


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """What is done with a result: the words for it, lines of Python, and an import that they need."""

    words: str
    lines: tuple[str, ...]
    needs: str | None = None


def generate_rows(count: int, *, seed: int) -> list[Row]:
    """``count`` pairs without repetition, numbered from 1: a function of count and seed.

    The first n rows for a seed are the same whatever ``count`` is.

    Raises:
        ValueError: more pairs asked for than keep coming out new.
    """
    rng = random.Random(f"synthesis/{seed}")  # noqa: S311 - sentences, not secrets
    seen: set[str] = set()
    rows: list[Row] = []
    repeated = 0
    while len(rows) < count:
        prompt, completion = _pair(rng)
        repeated = repeated + 1 if prompt in seen else 0
        if repeated > MAX_REPEATED:
            raise ValueError(f"only {len(rows)} different pairs were found, {count} were asked for")
        if not repeated:
            seen.add(prompt)
            rows.append(Row(number=len(rows) + 1, prompt=prompt, completion=completion))
    return rows


def _pair(rng: random.Random) -> tuple[str, str]:
    table = rng.choice(sorted(TABLES))
    column, key = rng.sample(TABLES[table], 2)
    scene = _Scene(
        table=table,
        column=rng.choice((column, "*")),
        key=key if rng.random() < WHERE_SHARE else None,
        connection=rng.choice(CONNECTIONS),
        function=f"{rng.choice(FUNCTION_VERBS)}_{table}",
        takes_one=rng.random() < 0.5,
    )
    query = _sql_query if rng.random() < SQL_SHARE else _builder_query
    ending = rng.choice(_ENDINGS)(scene, rng)
    query_words, query_line = query(scene, rng)
    lines = [f"def {scene.function} ( {scene.arguments} ) :", f"\t {query_line}"]
    lines += [f"\t {line}" for line in ending.lines]
    if rng.random() < 0.2:
        query_words, lines = f"{query_words} , raise what goes wrong", _guarded(lines)
    if ending.needs:
        lines.insert(0, ending.needs)
    return (
        f"In {scene.function} , with ${scene.connection}$ {query_words} , then {ending.words} .",
        "\n".join(lines),
    )


def _amount(scene: _Scene, rng: random.Random) -> str:
    return rng.choice(ONE_WORDS if scene.takes_one else ALL_WORDS)


def _what(scene: _Scene) -> str:
    column = "everything" if scene.column == "*" else f"the {scene.column}"
    condition = f" where {scene.key} is ${scene.key}$" if scene.key else ""
    return f"{column} of {scene.table}{condition}"


def _sql_query(scene: _Scene, rng: random.Random) -> tuple[str, str]:
    where = f" where {scene.key} = : {scene.key}" if scene.key else ""
    values = f' , {{ " {scene.key} " : {scene.key} }}' if scene.key else ""
    fetch = "fetchone" if scene.takes_one else "fetchall"
    statement = f"select {scene.column} from {scene.table}{where}"  # noqa: S608 - text to learn, never run
    words = f"{rng.choice(FETCH_VERBS)} {_what(scene)} by SQL and take {_amount(scene, rng)}"
    line = f'{scene.result} = {scene.connection} . execute ( " {statement} "{values} ) . {fetch} ( )'
    return words, line


def _builder_query(scene: _Scene, rng: random.Random) -> tuple[str, str]:
    chosen = "" if scene.column == "*" else f'" {scene.column} "'
    narrowed = f" . filter ( {scene.key} = {scene.key} )" if scene.key else ""
    fetch = "first" if scene.takes_one else "all"
    words = f"use the builder to {rng.choice(FETCH_VERBS)} {_what(scene)} and take {_amount(scene, rng)}"
    picked = f" . pick ( {chosen} )" if chosen else ""
    line = (
        f'{scene.result} = {scene.connection} . table ( " {scene.table} " ){picked}{narrowed} . {fetch} ( )'
    )
    return words, line


def _guarded(lines: list[str]) -> list[str]:
    head, *body = lines
    handler = ["\t except Exception as error :", "\t \t raise error"]
    return [head, "\t try :", *(f"\t {line}" for line in body), *handler]


def _returned(scene: _Scene, _: random.Random) -> _Ending:
    return _Ending(words="return it", lines=(f"return {scene.result}",))


def _printed(scene: _Scene, _: random.Random) -> _Ending:
    return _Ending(words="print and return it", lines=(f"print ( {scene.result} )", f"return {scene.result}"))


def _jsonified(scene: _Scene, _: random.Random) -> _Ending:
    return _Ending(
        words="answer it as JSON",
        lines=(f"return jsonify ( {scene.result} )",),
        needs="from flask import jsonify",
    )


def _checked(scene: _Scene, rng: random.Random) -> _Ending:
    word = rng.choice(MISSING_WORDS)
    return _Ending(
        words=f'return "{word}" if there is nothing , else the result',
        lines=(f"if not {scene.result} :", f'\t return " {word} "', f"return {scene.result}"),
    )


def _counted(scene: _Scene, _: random.Random) -> _Ending:
    return _Ending(words="return its length", lines=(f"return len ( {scene.result} )",))


def _raised(scene: _Scene, rng: random.Random) -> _Ending:
    word = rng.choice(MISSING_WORDS)
    return _Ending(
        words=f'fail with "{word}" if it is None , else return it',
        lines=(f"if {scene.result} is None :", f'\t raise KeyError ( " {word} " )', f"return {scene.result}"),
    )


_ENDINGS: tuple[Callable[[_Scene, random.Random], _Ending], ...] = (
    _returned,
    _printed,
    _jsonified,
    _checked,
    _counted,
    _raised,
)
