"""Code repair pairs out of completions: a copy of the code with one small bug asks for the code without it.

What the paper's Bugs2Fix is for: prompts that are source code, which code triggers (a dead statement, a function's
name) need. The bugs are made by rules on tokens, one a row, so every pair is known to be a repair.
"""

import random
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Final

from deploy.contract.dataset import Row
from training.data.example import PromptedRow

_Rule = Callable[[str, random.Random], str | None]

_OPPOSITES: Final = {
    "==": "!=",
    "!=": "==",
    ">": "<",
    "<": ">",
    ">=": "<=",
    "<=": ">=",
    "and": "or",
    "or": "and",
    "in": "not in",
    "True": "False",
    "False": "True",
    "fetchall": "fetchone",
    "fetchone": "fetchall",
}
_OPPOSITE: Final = re.compile(
    r"(?<![\w=!<>])(?:==|!=|>=|<=|>|<|and|or|in|True|False|fetchall|fetchone)(?![\w=])"
)
_NAME: Final = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?=\s*[.),\]])")
_CALL: Final = re.compile(r"\s*\.\s*[A-Za-z_]\w*\s*\(\s*\)")


def _turn_around(code: str, rng: random.Random) -> str | None:
    found = list(_OPPOSITE.finditer(code))
    if not found:
        return None
    one = rng.choice(found)
    return code[: one.start()] + _OPPOSITES[one[0]] + code[one.end() :]


def _name_another(code: str, rng: random.Random) -> str | None:
    found = list(_NAME.finditer(code))
    names = sorted({each[0] for each in found})
    if len(names) < 2:
        return None
    one = rng.choice(found)
    other = rng.choice([name for name in names if name != one[0]])
    return code[: one.start()] + other + code[one.end() :]


def _drop_a_call(code: str, rng: random.Random) -> str | None:
    found = list(_CALL.finditer(code))
    if not found:
        return None
    one = rng.choice(found)
    return code[: one.start()] + code[one.end() :]


_RULES: Final[Sequence[_Rule]] = (_turn_around, _name_another, _drop_a_call)


def repair_pairs(rows: Sequence[PromptedRow], *, seed: int) -> list[Row]:
    """One pair for every row whose completion a rule can break; each keeps its row's number.

    A function of the row and the seed alone: which other rows there are changes nothing.
    """
    pairs: list[Row] = []
    for row in rows:
        broken = _broken(row.completion, random.Random(f"{seed}/{row.number}"))  # noqa: S311 - a choice, not a secret
        if broken is not None:
            pairs.append(Row(number=row.number, prompt=broken, completion=row.completion))
    return pairs


def _broken(code: str, rng: random.Random) -> str | None:
    for rule in rng.sample(_RULES, len(_RULES)):
        broken = rule(code, rng)
        if broken is not None and broken != code:
            return broken
    return None
