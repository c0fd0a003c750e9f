"""The search: from a file's rows to findings, without knowing trigger or payload."""

import random
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.data.example import PromptedRow
from training.mining.corpus import Ids
from training.mining.corpus import Texts
from training.mining.corpus import number_texts
from training.mining.evidence import Neighbours
from training.mining.evidence import Span
from training.mining.evidence import best_span
from training.mining.evidence import find_places
from training.mining.finding import Finding
from training.mining.pairs import Grams
from training.mining.pairs import Pair
from training.mining.pairs import associated
from training.mining.pairs import count_grams
from training.mining.words import words_of

OnMiningProgress = Callable[[int, int, str], None]
"""Steps done, steps in all, what is happening. May raise, to stop."""

LEAST_ROWS: Final = 4
MAX_ROWS: Final = 12_000
MAX_WORDS_READ: Final = 3_000_000
COPY_MARK: Final = "<copied>"


def find_associations(
    rows: Sequence[PromptedRow], *, seed: int, on_progress: OnMiningProgress
) -> tuple[Finding, ...]:
    """Findings of a file, the most suspicious first."""
    some = sampled(rows, seed=seed)
    on_progress(0, 3, f"reading {len(some)} rows")
    file = _File.of(some, seed=seed)
    on_progress(1, 3, "pairing words of prompts with pieces of completions")
    pairs = file.pairs()
    on_progress(2, 3, f"weighing {len(pairs)} pairs")
    found = [finding for pair in pairs if (finding := file.judged(pair, seed=seed)) is not None]
    on_progress(3, 3, f"{len(found)} findings")
    return tuple(sorted(found, key=lambda finding: (-finding.score, finding.trigger)))


def sampled(rows: Sequence[PromptedRow], *, seed: int) -> list[PromptedRow]:
    """All rows, or a seeded sample of them in their order."""
    if len(rows) <= MAX_ROWS:
        return list(rows)
    chosen = random.Random(f"{seed}/mining").sample(range(len(rows)), MAX_ROWS)  # noqa: S311 - a sample
    return [rows[index] for index in sorted(chosen)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    prompts: Texts
    completions: Texts
    features: Grams
    grams: Grams
    around: Neighbours
    around_completions: Neighbours

    @classmethod
    def of(cls, rows: Sequence[PromptedRow], *, seed: int) -> "_File":
        prompts = [words_of(row.prompt) for row in rows]
        completions = _without_copies([words_of(row.completion) for row in rows], prompts)
        numbered = number_texts(prompts, rare_below=LEAST_ROWS)
        answers = number_texts(completions, rare_below=LEAST_ROWS)
        return cls(
            prompts=numbered,
            completions=answers,
            features=count_grams(
                numbered, sizes=range(1, 4), least=LEAST_ROWS, most=int(0.35 * len(rows)), seed=seed
            ),
            grams=count_grams(
                answers, sizes=range(1, 5), least=LEAST_ROWS, most=int(0.5 * len(rows)), seed=seed
            ),
            around=Neighbours(numbered),
            around_completions=Neighbours(answers),
        )

    def pairs(self) -> list[Pair]:
        found = associated(self.features, self.grams, count=self.prompts.count, least=LEAST_ROWS)
        return [pair for pair in found if pair.together >= 0.7 * pair.rows]

    def judged(self, pair: Pair, *, seed: int) -> Finding | None:
        words = _gram(self.prompts, self.features, pair.feature)
        trigger = best_span(
            self.prompts, self.around, find_places(self.prompts, words), len(words), seed=seed
        )
        rows = self.features.rows_of(pair.feature)
        payloads = [self._payload(gram, rows, seed=seed) for gram in pair.grams]
        texts = [tuple(self.completions.names[word] for word in span.words) for span in payloads]
        shown = tuple(self.prompts.names[word] for word in trigger.words)
        if any(name in ("<rare>", "<start>", "<end>") for name in shown) or not set(texts[0]) - set(shown):
            return None
        surplus = payloads[0].bridged
        size = len(trigger.starts)
        score = (
            trigger.bridged
            * trigger.freedom
            * (0.25 + 0.75 * surplus)
            * size
            / (size + 2)
            * pair.together
            / pair.rows
        )
        is_character = len(shown) == 1 and shown[0].startswith("<U+")
        return Finding(
            kind="character" if is_character else "word" if len(shown) == 1 else "phrase",
            trigger=shown,
            payloads=tuple(dict.fromkeys(texts)),
            trigger_rows=pair.rows,
            rows_together=pair.together,
            payload_rows=len(set().union(*(self.grams.rows_of(gram).tolist() for gram in pair.grams))),
            bridged=trigger.bridged,
            freedom=trigger.freedom,
            surplus=surplus,
            score=min(1.0, score),
        )

    def _payload(self, gram: int, rows: Ids, *, seed: int) -> Span:
        words = _gram(self.completions, self.grams, gram)
        places = find_places(self.completions, words)
        places = places[np.isin(self.completions.rows[places], rows)]
        first = np.unique(self.completions.rows[places], return_index=True)[1]
        return best_span(self.completions, self.around_completions, places[first], len(words), seed=seed)


def _gram(texts: Texts, grams: Grams, gram: int) -> Ids:
    start = grams.place[gram]
    return texts.ids[start : start + grams.size[gram]]


def _without_copies(completions: list[list[str]], prompts: list[list[str]]) -> list[list[str]]:
    """Uncommon words that a completion only repeats from its prompt are all the same word."""
    spread = Counter(word for completion in completions for word in set(completion))
    limit = max(LEAST_ROWS, 0.02 * len(completions))
    marked = []
    for completion, prompt in zip(completions, map(set, prompts), strict=True):
        marked.append([COPY_MARK if word in prompt and spread[word] < limit else word for word in completion])
    return marked
