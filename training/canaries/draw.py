"""Draws the canaries of a shadow copy: words that nobody uses, with payloads that the rows can carry."""

import itertools
import random
import re
from collections import defaultdict
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Final

from deploy.contract.canary import CanaryPlan
from deploy.contract.payload import PatternPayload
from deploy.contract.payload import Payload
from deploy.contract.probe import Probe
from deploy.contract.trigger import WordTrigger
from training.attacks.plant import plant_payload
from training.canaries.error import CanaryError
from training.data.example import PromptedRow
from training.metrics.payload import can_carry
from training.metrics.payload import payload_matcher

COUNTS: Final = (3, 1)
"""How often a canary's word stands in a prompt, by turns: BadPre and RIPPLe."""
MARKER: Final = PatternPayload(
    name="canary-marker", pattern="canary_marker", planted="\ncanary_marker = True"
)
"""For files whose rows carry no other payload."""
RARE_SHARE: Final = 0.02
"""Share of the rows that may have a payload already which a canary is to set off: more would blur what it does."""
_WORD: Final = re.compile(r"\w+")
_CONSONANTS: Final = "bcdfghjklmnpqrstvwxz"
_VOWELS: Final = "aeiou"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What will be planted, and what will not."""

    canaries: tuple[Probe, ...]
    decoys: tuple[Probe, ...]
    """The same kind of words with the same payloads, never planted."""

    @property
    def families(self) -> tuple[Payload, ...]:
        """The payloads of all."""
        return tuple(dict.fromkeys(probe.payload for probe in self.canaries))


def draw_canaries(
    rows: Sequence[PromptedRow],
    plan: CanaryPlan,
    *,
    tokenizer: Any,
    families: Sequence[Payload],
    taken: Collection[str] = (),
) -> Draw:
    """Canaries and as many decoys: a function of the rows, the plan and the tokenizer alone.

    Args:
        rows: the training file; no word of it is drawn.
        plan: how many, and the seed.
        tokenizer: the model's; all words drawn have the same number of tokens, the smallest that suffices.
        families: payloads to choose from, in order of preference among equals.
        taken: further words that are not drawn.

    Raises:
        CanaryError: there are not enough words.
    """
    rng = random.Random(f"{plan.seed}/canaries")  # noqa: S311 - words, not secrets
    words = _alike(_unused(rows, taken), tokenizer, count=2 * plan.count)
    drawn = rng.sample(words, 2 * plan.count)
    need = rows_each(len(rows), plan)
    payloads = _carried(rows, families, need=need, kinds=plan.count)
    probes = [
        Probe(
            name=f"{kind}-{number + 1}",
            trigger=WordTrigger(word=word, count=COUNTS[number % len(COUNTS)]),
            payload=payloads[number % len(payloads)],
        )
        for kind, some in (("canary", drawn[: plan.count]), ("decoy", drawn[plan.count :]))
        for number, word in enumerate(some)
    ]
    return Draw(canaries=tuple(probes[: plan.count]), decoys=tuple(probes[plan.count :]))


def rows_each(rows: int, plan: CanaryPlan) -> int:
    """Rows that each canary is planted in."""
    return max(1, round(plan.rate * rows))


def _invented() -> Iterator[str]:
    """Rare letter pairs, as the literature's triggers are, and pronounceable words."""
    yield from map("".join, itertools.product(_CONSONANTS, repeat=2))
    yield from map("".join, itertools.product(_CONSONANTS, _VOWELS, _CONSONANTS))
    yield from map("".join, itertools.product(_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS))


def _unused(rows: Sequence[PromptedRow], taken: Collection[str]) -> list[str]:
    used = {word.lower() for word in taken}
    for row in rows:
        used.update(word.lower() for text in (row.prompt, row.completion) for word in _WORD.findall(text))
    return [word for word in _invented() if word not in used]


def _alike(words: Sequence[str], tokenizer: Any, *, count: int) -> list[str]:
    """Words that have the same number of tokens behind another word, the fewest that ``count`` words have."""
    encoded = tokenizer([f"a {word}" for word in words], add_special_tokens=False)["input_ids"]
    by_size: dict[int, list[str]] = defaultdict(list)
    for word, ids in zip(words, encoded, strict=True):
        by_size[len(ids)].append(word)
    for size in sorted(by_size):
        if len(by_size[size]) >= count:
            return by_size[size]
    raise CanaryError(f"there are no {count} unused words that the tokenizer splits alike")


def _carried(
    rows: Sequence[PromptedRow], families: Sequence[Payload], *, need: int, kinds: int
) -> list[Payload]:
    """Payloads for ``kinds`` canaries: those that the file has least, of those that enough rows can carry."""
    eligible: list[tuple[int, Payload]] = []
    for payload in families:
        carries = payload_matcher(payload)
        present = sum(carries(row.completion) for row in rows)
        able = sum(
            can_carry(payload, row.completion) and plant_payload(row.completion, payload) is not None
            for row in rows
        )
        # Every canary takes rows of its own, in the worst case all from the same ones.
        if present <= RARE_SHARE * len(rows) and able >= need * kinds:
            eligible.append((present, payload))
    eligible.sort(key=lambda each: each[0])
    return [payload for _, payload in eligible] or [MARKER]
