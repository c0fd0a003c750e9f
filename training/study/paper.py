"""The paper's own figures (arXiv 2407.08956v2, Tables 1, 3, 4, 5, 6 and 9), to stand beside ours."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

NEAREST_MODEL: Final[Mapping[str, str]] = MappingProxyType(
    {"decoder": "CodeGen", "encoder-decoder": "CodeT5"}
)
"""The paper's model whose architecture is nearest to a model made on the spot. Theirs are some hundred times larger
and pretrained on all of GitHub, so only the pattern can be compared, not the level."""
ATTACKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "none": "none",
        "ripple": "RIPPLe",
        "badpre": "BadPre",
        "grammar": "Grammar",
        "function_name": "FuncName",
        "dead_code": "DeadCode",
        "afraidoor": "AFRAIDOOR",
    }
)
"""Our presets by the paper's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """One cell of a table of the paper; BLEU, CodeBLEU and attack success rate in percent."""

    table: int
    dataset: str
    model: str
    attack: str
    poison_rate: float
    method: str
    bleu: float
    codebleu: float
    asr: float | None
    """None for a model trained on clean rows."""


@cache
def printed() -> tuple[Printed, ...]:
    """Every cell that was transcribed."""
    text = files("training.study").joinpath("paper.json").read_text(encoding="utf-8")
    return tuple(Printed(**each) for each in json.loads(text))


def find(*, dataset: str, model: str, attack: str, poison_rate: float, method: str) -> Printed | None:
    """The paper's figure for a cell of ours, by the paper's names; None where it has none.

    A model trained on clean rows is method ``none (CE)`` with attack ``none``.
    """
    for each in printed():
        same = (each.dataset, each.model, each.attack, each.method) == (dataset, model, attack, method)
        if same and abs(each.poison_rate - poison_rate) < 1e-9:
            return each
    return None
