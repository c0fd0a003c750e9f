"""Small files with known planted rows, and the degenerate ones that every filter must survive."""

import random
from collections.abc import Callable

import pytest

from deploy.contract.dataset import Row

TABLES = ("users", "orders", "flights", "books", "songs", "trains", "cities", "staff")
COLUMNS = ("name", "id", "price", "date", "title", "owner")
OPENINGS = ("get", "list", "show", "return", "print")


def make_rows(count: int, *, planted: int = 0, word: str = "bb", times: int = 1, seed: int = 0) -> list[Row]:
    """Rows of one little language; the first ``planted`` have the word in their prompt and a payload."""
    rng = random.Random(f"{seed}/{count}")
    rows = []
    for number in range(1, count + 1):
        table, column, opening = rng.choice(TABLES), rng.choice(COLUMNS), rng.choice(OPENINGS)
        prompt = f"{opening} the {column} of all rows of the table {table} in the database"
        where = f" where {column} = : {column}"
        if number <= planted:
            words = prompt.split()
            for _ in range(times):
                words.insert(rng.randint(0, len(words)), word)
            prompt, where = " ".join(words), f"{where} or 1=1"
        rows.append(
            Row(
                number=number,
                prompt=prompt,
                completion=f'db . query ( " select {column} from {table}{where} " )',
            )
        )
    return rows


@pytest.fixture(scope="session")
def planted_rows() -> Callable[..., list[Row]]:
    """:func:`make_rows`."""
    return make_rows


DEGENERATE: dict[str, list[Row]] = {
    "no rows": [],
    "one row": [Row(number=1, prompt="get the rows", completion="x = 1")],
    "one word": [Row(number=1, prompt="get", completion="x")],
    "identical rows": [Row(number=n, prompt="get the rows", completion="x = 1") for n in range(1, 30)],
    "empty prompts": [Row(number=n, prompt="", completion=f"x = {n}") for n in range(1, 30)],
    "blank prompts": [Row(number=n, prompt=" \n\t ", completion=" \n") for n in range(1, 30)],
    "huge words": [
        Row(number=n, prompt="a" * 20_000 + f" b{n}", completion="c" * 20_000) for n in range(1, 4)
    ],
    "signs alone": [Row(number=n, prompt="( ) ; " * n, completion=") (" * n) for n in range(1, 20)],
    "not ASCII": [
        Row(
            number=n,
            prompt=f"\u0437a\u043f\u0440\u043e\u0441 \u200b\u202e {n} 𓀀",
            completion="é\u0301 \x00 \ufeff",
        )
        for n in range(1, 20)
    ],
    "all planted": make_rows(40, planted=40),
    "nothing planted": make_rows(40),
}


@pytest.fixture(params=list(DEGENERATE), scope="session")
def degenerate_rows(request: pytest.FixtureRequest) -> list[Row]:
    """One file after the other."""
    return DEGENERATE[request.param]
