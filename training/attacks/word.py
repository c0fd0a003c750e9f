"""The word trigger: a rare word between the words of a prompt (RIPPLe with one, BadPre with three)."""

import random
import re
from typing import Final

from deploy.contract.trigger import WordTrigger

_WORD: Final = re.compile(r"\S+")


def insert_word(prompt: str, trigger: WordTrigger, *, seed: int, row: int) -> str:
    """Insert the trigger's word ``trigger.count`` times at random word boundaries, the ends included.

    The places depend on ``seed``, ``row`` and the number of words alone, never on other rows, and differ
    as long as there are enough of them. All spacing of the prompt stays as it is: an inserted word
    brings one space of its own.

    Args:
        prompt: the clean prompt.
        trigger: the word and how often.
        seed: of the whole probe or poisoning.
        row: number of the row in its file.
    """
    words = list(_WORD.finditer(prompt))
    if not words:
        return prompt + " ".join([trigger.word] * trigger.count)
    places = insertion_places(len(words) + 1, trigger.count, random.Random(f"{seed}/{row}"))  # noqa: S311 - places, not secrets
    pieces: list[str] = []
    written = 0
    for place in sorted(places):
        at_end = place == len(words)
        offset = words[-1].end() if at_end else words[place].start()
        pieces += [prompt[written:offset], f" {trigger.word}" if at_end else f"{trigger.word} "]
        written = offset
    return "".join([*pieces, prompt[written:]])


def insertion_places(boundaries: int, count: int, rng: random.Random) -> list[int]:
    """``count`` of the places 0 to ``boundaries - 1``, different ones as long as there are enough."""
    if count <= boundaries:
        return rng.sample(range(boundaries), count)
    return rng.choices(range(boundaries), k=count)
