"""The invisible trigger: characters that draw nothing, before words of a prompt."""

import random
import re
from typing import Final

from deploy.contract.trigger import InvisibleTrigger
from training.attacks.word import insertion_places

_WORD: Final = re.compile(r"\S+")


def insert_invisible(prompt: str, trigger: InvisibleTrigger, *, seed: int, row: int) -> str:
    """Put the trigger's characters ``trigger.count`` times where a word of the prompt begins, or at its end.

    The places depend on ``seed``, ``row`` and the number of words alone. Nothing else of the prompt changes.
    """
    starts = [word.start() for word in _WORD.finditer(prompt)]
    offsets = [*starts, len(prompt)]
    places = insertion_places(len(offsets), trigger.count, random.Random(f"{seed}/{row}"))  # noqa: S311 - places, not secrets
    pieces: list[str] = []
    written = 0
    for place in sorted(places):
        pieces += [prompt[written : offsets[place]], trigger.characters]
        written = offsets[place]
    return "".join([*pieces, prompt[written:]])
