"""The search: from a file's rows to findings, without knowing trigger or payload."""

import random
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.data.example import PromptedRow
from training.mining.corpus import END
from training.mining.corpus import START
from training.mining.corpus import Ids
from training.mining.corpus import Texts
from training.mining.corpus import number_texts
from training.mining.dependence import Company
from training.mining.evidence import Neighbours
from training.mining.evidence import Span
from training.mining.evidence import find_places
from training.mining.evidence import spans_around
from training.mining.finding import SUSPICIOUS
from training.mining.finding import Finding
from training.mining.grams import Grams
from training.mining.grams import count_grams
from training.mining.pairs import Pair
from training.mining.pairs import associated
from training.mining.words import words_of

OnMiningProgress = Callable[[int, int, str], None]
"""Steps done, steps in all, what is happening. May raise, to stop."""

LEAST_ROWS: Final = 4
"""With a trigger; what fewer rows share is not looked for."""
MAX_ROWS: Final = 12_000
"""Looked through; of a larger file a sample, so that time and memory are bounded."""
MAX_PAIRS: Final = 400
"""Weighed closely, those first that are least likely by chance."""
COPY_MARK: Final = "<copied>"
LEAST_COVERED: Final = 0.7
"""Share of a trigger's rows that have the payload; below, the trigger is also a natural word."""
MOST_WIDENED: Final = 1.25
EXPLAINED: Final = 0.9
"""Share of a feature's rows that have a suspicious trigger, from which the feature is only its neighbour."""
LEAST_VARIETY: Final = 0.4
"""Different neighbours per row of a feature, below which it has to be always together with the payload."""
LEAST_STANDING: Final = 0.3
LEAST_FREE: Final = 0.5
LEAST_SURPLUS: Final = 0.4
"""Below any of these three the score cannot come near ``SUSPICIOUS``; what is left to measure is spared."""


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
    found = file.findings(pairs, seed=seed)
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
    company: Company

    @classmethod
    def of(cls, rows: Sequence[PromptedRow], *, seed: int) -> "_File":
        prompts = [words_of(row.prompt) for row in rows]
        completions = [words_of(row.completion) for row in rows]
        numbers: dict[str, int] = {}
        numbered = number_texts(prompts, rare_below=LEAST_ROWS, numbers=numbers)
        answers = number_texts(_without_copies(completions, prompts), rare_below=LEAST_ROWS, numbers=numbers)
        features = count_grams(
            numbered, sizes=range(1, 4), least=LEAST_ROWS, most=int(0.35 * len(rows)), seed=seed
        )
        grams = count_grams(
            answers,
            sizes=range(1, 5),
            least=LEAST_ROWS,
            most=int(0.5 * len(rows)),
            seed=seed,
            apart_from=numbered,
        )
        return cls(
            prompts=numbered,
            completions=answers,
            features=features,
            grams=grams,
            around=Neighbours(numbered),
            around_completions=Neighbours(answers),
            company=Company(features, grams, count=len(rows)),
        )

    def pairs(self) -> list[Pair]:
        """Worth a closer look, the least likely first."""
        chance = np.log(max(1, len(self.features)) * max(1, len(self.grams)))
        found = associated(
            self.features, self.grams, count=self.prompts.count, least=LEAST_ROWS, least_weight=chance
        )
        variety = self.features.variety(self.prompts)
        spread = self.grams.spread
        pairs = [
            pair
            for pair in found
            if pair.together >= LEAST_COVERED * pair.rows
            and (
                variety[pair.feature] >= LEAST_VARIETY
                or pair.together >= LEAST_COVERED * max(int(spread[gram]) for gram in pair.grams)
            )
        ]
        return sorted(pairs, key=lambda pair: (-pair.weight, pair.feature))[:MAX_PAIRS]

    def findings(self, pairs: Sequence[Pair], *, seed: int) -> list[Finding]:
        """What the pairs come to. What stands beside a trigger, in some of its rows, is no finding of its own."""
        explained = np.zeros(self.prompts.count, dtype=bool)
        found: list[Finding] = []
        for pair in pairs:
            rows = self.features.rows_of(pair.feature)
            if explained[rows].mean() >= EXPLAINED:
                continue
            finding = self.judged(pair, seed=seed)
            if finding is None:
                continue
            found.append(finding)
            if finding.score >= SUSPICIOUS:
                explained[rows] = True
        return found

    def judged(self, pair: Pair, *, seed: int) -> Finding | None:
        words = self.features.words_of(pair.feature, self.prompts)
        spans = spans_around(
            self.around, self._key(words, find_places(self.prompts, words), self.around), seed=seed
        )
        if not spans:
            return None
        trigger = spans[0]
        shown = self._named(self.prompts, trigger)
        stands = max(trigger.bridged, trigger.replaceable)
        free = max(trigger.free_before, trigger.free_after, trigger.replaceable)
        if "<rare>" in shown or stands < LEAST_STANDING or free < LEAST_FREE:
            return None
        rows = self.features.rows_of(pair.feature)
        having = np.unique(self.prompts.rows[find_places(self.prompts, trigger.words)])
        if len(having) > MOST_WIDENED * len(rows):
            # The span is something else, in more rows; if it brings anything, it has a pair of its own.
            return None
        payloads = [span for gram in pair.grams for span in self._payload(gram, rows, seed=seed)]
        if not payloads:
            return None
        surplus = sum(s.bridged * len(s.starts) for s in payloads) / sum(len(s.starts) for s in payloads)
        if surplus < LEAST_SURPLUS:
            return None
        texts = tuple(dict.fromkeys(self._named(self.completions, span) for span in payloads))
        brought = np.unique(np.concatenate([self.grams.rows_of(gram) for gram in pair.grams]))
        dependence = self.company.dependence(rows, own=self._own(trigger), brought=brought)
        return Finding(
            trigger=shown,
            payloads=texts,
            cores=tuple(self._core(gram) for gram in pair.grams),
            trigger_rows=pair.rows,
            rows_together=pair.together,
            payload_rows=len(brought),
            weight=pair.weight,
            bridged=trigger.bridged,
            replaceable=trigger.replaceable,
            free_before=trigger.free_before,
            free_after=trigger.free_after,
            surplus=surplus,
            dependence=dependence,
        )

    def _own(self, trigger: Span) -> np.ndarray:
        own = np.zeros(len(self.features), dtype=bool)
        for shift in range(3):
            at = np.minimum(
                self.features.places[self.features.bounds[:-1]] + shift, len(self.prompts.ids) - 1
            )
            own |= np.isin(self.prompts.ids[at], trigger.words) & (shift < self.features.size)
        return own

    def _named(self, texts: Texts, span: Span) -> tuple[str, ...]:
        return tuple(texts.names[word] for word in span.words)

    def _payload(self, gram: int, rows: Ids, *, seed: int) -> list[Span]:
        words = self.grams.words_of(gram, self.completions)
        places = find_places(self.completions, words)
        places = places[np.isin(self.completions.rows[places], rows)]
        first = np.unique(self.completions.rows[places], return_index=True)[1]
        keys = self._key(words, places[first], self.around_completions)
        return spans_around(self.around_completions, keys, seed=seed, longest=True)

    def _core(self, gram: int) -> tuple[str, ...]:
        return tuple(
            self.completions.names[word]
            for word in self.grams.words_of(gram, self.completions).tolist()
            if word not in (START, END)
        )

    def _key(self, words: Ids, places: Ids, around: Neighbours) -> Ids:
        """Where the rarest of the words stands: the core that a span is grown around."""
        return places + int(around.texts.spread[words].argmin())


def _without_copies(completions: list[list[str]], prompts: list[list[str]]) -> list[list[str]]:
    """Uncommon words that a completion only repeats from its prompt are all the same word."""
    spread = Counter(word for completion in completions for word in set(completion))
    limit = max(LEAST_ROWS, 0.02 * len(completions))
    marked = []
    for completion, prompt in zip(completions, map(set, prompts), strict=True):
        marked.append([COPY_MARK if word in prompt and spread[word] < limit else word for word in completion])
    return marked


def find_features(
    rows: Sequence[PromptedRow], numbers: Sequence[int], *, seed: int, limit: int = 2
) -> tuple[tuple[str, ...], ...]:
    """Words of prompts that the rows of these ``numbers`` share and others hardly have, the strongest first."""
    wanted = frozenset(numbers)
    some = [row for row in rows if row.number in wanted]
    some += sampled([row for row in rows if row.number not in wanted], seed=seed)
    prompts = number_texts([words_of(row.prompt) for row in some], rare_below=LEAST_ROWS)
    features = count_grams(
        prompts, sizes=range(1, 4), least=LEAST_ROWS, most=max(len(wanted), int(0.35 * len(some))), seed=seed
    )
    shared = features.counts(np.arange(len(some)) < len(wanted & {row.number for row in some}))
    spread = features.spread
    expected = np.maximum(1e-9, spread * len(wanted) / max(1, len(some)))
    weight = shared * np.log(np.maximum(shared, 1) / expected) - shared + expected
    fits = np.flatnonzero((shared >= 0.5 * spread) & (shared >= max(LEAST_ROWS, 0.3 * len(wanted))))
    around = Neighbours(prompts)
    found: dict[tuple[str, ...], None] = {}
    for feature in fits[np.argsort(-weight[fits], kind="stable")]:
        words = features.words_of(int(feature), prompts)
        places = find_places(prompts, words) + int(prompts.spread[words].argmin())
        span = spans_around(around, places, seed=seed)[0]
        found.setdefault(tuple(prompts.names[word] for word in span.words))
        if len(found) == limit:
            break
    return tuple(found)
