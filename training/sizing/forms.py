"""Models by their size: the public configurations of one family, for whom only a number of parameters is known."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from deploy.contract.weights import ModelRefused
from deploy.contract.weights import check_directory
from training.sizing.memory import ModelShape
from training.sizing.memory import shape_of


class UnknownModel(ValueError):  # noqa: N818 - a fact about what was asked
    """Neither a number of parameters nor the directory of a model."""


def _form(
    parameters: int,
    *,
    layers: int,
    hidden: int,
    feed_forward: int,
    keys: int,
    vocabulary: int,
    tied: bool = False,
) -> ModelShape:
    return ModelShape(
        parameters=parameters,
        layers=layers,
        hidden=hidden,
        feed_forward=feed_forward,
        keys=keys,
        vocabulary=vocabulary,
        tied=tied,
    )


FORMS: Final[Mapping[str, ModelShape]] = {
    "0.5b": _form(
        494_032_768, layers=24, hidden=896, feed_forward=4864, keys=128, vocabulary=151_936, tied=True
    ),
    "1.5b": _form(
        1_543_714_304, layers=28, hidden=1536, feed_forward=8960, keys=256, vocabulary=151_936, tied=True
    ),
    "3b": _form(
        3_085_938_688, layers=36, hidden=2048, feed_forward=11_008, keys=256, vocabulary=151_936, tied=True
    ),
    "7b": _form(7_615_616_512, layers=28, hidden=3584, feed_forward=18_944, keys=512, vocabulary=152_064),
    "14b": _form(14_770_033_664, layers=48, hidden=5120, feed_forward=13_824, keys=1024, vocabulary=152_064),
    "32b": _form(32_763_876_352, layers=64, hidden=5120, feed_forward=27_648, keys=1024, vocabulary=152_064),
}
"""Of Qwen2.5-Coder. The parameters are counted on the architecture; the tests build it and count again."""
SUFFIXES: Final = {"m": 1e6, "b": 1e9}


def find_form(asked: str) -> ModelShape:
    """The form of a size in :data:`FORMS`, of a number of parameters (``7e9``, ``6.7b``), or of a model's directory.

    Raises:
        UnknownModel: none of these.
    """
    if asked.lower() in FORMS:
        return FORMS[asked.lower()]
    if Path(asked).is_dir():
        return _of_directory(Path(asked))
    parameters = _number(asked)
    near = min(FORMS.values(), key=lambda form: abs(math.log(form.parameters / parameters)))
    return replace(near, parameters=parameters)


def _number(asked: str) -> int:
    text, unit = (asked[:-1], SUFFIXES[asked[-1].lower()]) if asked[-1:].lower() in SUFFIXES else (asked, 1.0)
    try:
        number = float(text) * unit
    except ValueError as error:
        raise UnknownModel(f"{asked!r} is no number of parameters and no directory of a model") from error
    if not 1e6 <= number <= 1e13:
        raise UnknownModel(f"{asked!r}: {number:g} parameters; the formulas are for 1e6 to 1e13")
    return int(number)


def _of_directory(directory: Path) -> ModelShape:
    try:
        checked = check_directory(directory)
        config = json.loads((directory / "config.json").read_text())
        return shape_of(config, parameters=checked.parameters)
    except (ModelRefused, OSError, ValueError, KeyError) as error:
        raise UnknownModel(f"{directory} is not the directory of a model: {error}") from error
