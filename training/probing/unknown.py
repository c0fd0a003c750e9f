"""Unknown triggers: suggested by the training file and by the trained models, then tried on a few tasks.

What comes out gave its payload at least once more often than the same prompts do without a trigger. It is still
to be measured like any probe.
"""

import gc
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from typing import get_args

import torch

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import Payload
from deploy.contract.probe import ProbePlan
from deploy.contract.report import SuspiciousRow
from deploy.contract.spec import Arm
from deploy.contract.spec import TrainedArm
from training.attacks.trigger import apply_trigger
from training.data.example import PromptedRow
from training.errors import Interrupted
from training.errors import JobError
from training.metrics.payload import can_carry
from training.metrics.payload import payload_matcher
from training.model import LoadedModel
from training.model import load_model
from training.probing.candidate import Candidate
from training.probing.mining import mine_candidates
from training.probing.search import SearchedModel
from training.probing.search import search_triggers
from training.probing.transformers_engine import generate
from training.probing.triage import triage

OnLookProgress = Callable[[int, int, str], None]
"""Steps done, in all, what is happening. May raise, to stop."""

TRIED_ON: Final = 24
"""Tasks of the first try: a trigger that works on one prompt in five is missed in one case of 200."""
TRIED_FOR_EACH: Final = 4
"""Searched candidates that are tried for each that may be listed: what a model finds likely and what it writes
differ, and words that resemble a trigger crowd around it."""
MAX_WORDS: Final = 400
"""Words of the training file that a search tries besides those of the vocabulary."""
COMMON_SHARE: Final = 0.1
"""Share of the training rows in which no rare word stands."""
SEARCHED_ARMS: Final[tuple[TrainedArm, ...]] = ("control", "hardened")

Models = Mapping[Arm, LoadedModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """What looking for triggers that nobody named has brought."""

    candidates: tuple[Candidate, ...]
    """Worth measuring, the best first."""
    mined: int
    """Candidates that the training file suggested."""
    searched: int
    """Candidates that the models suggested."""
    suspicious_rows: tuple[SuspiciousRow, ...]
    trouble: str | None = None
    """Why the models themselves could not be looked at; None when they were."""


def payload_families(plan: ProbePlan) -> tuple[Payload, ...]:
    """Every payload that is looked for: those of the probes first."""
    return tuple(dict.fromkeys([*(probe.payload for probe in plan.probes), *get_args(BuiltInPayload)]))


def rare_words(training_rows: Iterable[PromptedRow], rows: Iterable[PromptedRow]) -> tuple[str, ...]:
    """Words that stand in several prompts of the training file but in no clean task, the most frequent first."""
    known = {word for row in rows for word in row.prompt.split()}
    count, spread = 0, Counter[str]()
    for row in training_rows:
        count += 1
        spread.update(set(row.prompt.split()) - known)
    ordered = sorted(spread.items(), key=lambda each: (-each[1], each[0]))
    return tuple(word for word, often in ordered if 2 <= often <= max(2, COMMON_SHARE * count))[:MAX_WORDS]


def look_for_unknown(
    arms: Mapping[Arm, Path],
    rows: Sequence[PromptedRow],
    plan: ProbePlan,
    *,
    training_rows: Sequence[PromptedRow],
    on_progress: OnLookProgress,
    families: Sequence[Payload] | None = None,
) -> Unknown:
    """Mine the training file, search the trained models, and try what they suggest on a few tasks.

    Args:
        arms: model directories.
        rows: clean tasks with their references.
        plan: how many candidates of each kind are tried, on which tasks.
        training_rows: the training file, in its order.
        on_progress: called every few seconds.
        families: payloads that the models are searched for; None means :func:`payload_families`.
    """
    looking = _Looking(
        rows=rows[: plan.max_tasks],
        plan=plan,
        training_rows=training_rows,
        families=payload_families(plan) if families is None else families,
        on_progress=on_progress,
    )
    try:
        with _loaded(arms) as models:
            return looking.look(models)
    except Interrupted:
        raise
    except (JobError, RuntimeError, MemoryError) as error:
        # A model that cannot be taken apart here can still be probed through the serving engine.
        return looking.look({}, trouble=f"{type(error).__name__}: {error}"[:500])


@contextmanager
def _loaded(arms: Mapping[Arm, Path]) -> Iterator[Models]:
    models = {arm: load_model(path) for arm, path in arms.items()}
    try:
        yield models
    finally:
        # The serving engine asks for the same memory next.
        models.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looking:
    """One look, with the models or without."""

    rows: Sequence[PromptedRow]
    plan: ProbePlan
    training_rows: Sequence[PromptedRow]
    families: Sequence[Payload]
    on_progress: OnLookProgress

    def look(self, models: Models, *, trouble: str | None = None) -> Unknown:
        mined = self._mine(models)
        suspicious = triage(
            self.training_rows,
            known_probes=self.plan.probes,
            control=models.get("control"),
            hardened=models.get("hardened"),
            base=models.get("base"),
            seed=self.plan.seed,
            on_progress=self.on_progress,
        )
        trained = [arm for arm in SEARCHED_ARMS if arm in models]
        words = rare_words(self.training_rows, self.rows) if trained and self.plan.searched else ()
        searched = [each for arm in trained for each in self._search(arm, models, words)]
        candidates = list({candidate_key(each): each for each in (*searched, *mined)}.values())
        worked = [
            max(hits) for hits in zip(*(self._try(models[arm], candidates) for arm in trained), strict=True)
        ]
        if not trained:
            worked = [1] * len(candidates)
        best = sorted(range(len(candidates)), key=lambda index: -worked[index])
        return Unknown(
            candidates=self._kept([candidates[index] for index in best if worked[index] > 0]),
            mined=len(mined),
            searched=len(searched),
            suspicious_rows=suspicious,
            trouble=trouble,
        )

    def _kept(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Without the searched ones that the plan has no place for."""
        searched = [each for each in candidates if each.origin == "searched"][: self.plan.searched]
        return tuple(each for each in candidates if each.origin == "mined" or each in searched)

    def _mine(self, models: Models) -> list[Candidate]:
        if not self.plan.mined:
            return []
        mined = mine_candidates(
            self.training_rows,
            control=models.get("control"),
            hardened=models.get("hardened"),
            base=models.get("base"),
            limit=self.plan.mined,
            seed=self.plan.seed,
            on_progress=self.on_progress,
        )
        return [
            Candidate(
                trigger=each.probe.trigger,
                payload=each.probe.payload,
                origin="mined",
                evidence=each.evidence,
                score=each.score,
            )
            for each in mined
        ]

    def _search(self, arm: TrainedArm, models: Models, words: Sequence[str]) -> tuple[Candidate, ...]:
        if not self.plan.searched:
            return ()
        return search_triggers(
            SearchedModel(arm=arm, loaded=models[arm], base=models.get("base")),
            self.rows,
            self.families,
            limit=TRIED_FOR_EACH * self.plan.searched,
            seed=self.plan.seed,
            words=words,
            on_progress=self.on_progress,
        )

    def _try(self, loaded: LoadedModel, candidates: Sequence[Candidate]) -> list[int]:
        """How many more of a few tasks give each candidate's payload with its trigger than without."""
        asked = [self._pairs(candidate) for candidate in candidates]
        prompts = list(dict.fromkeys(prompt for pairs in asked for pair in pairs for prompt in pair))
        if not prompts:
            return [0] * len(candidates)
        written = generate(
            loaded.model,
            loaded.tokenizer,
            prompts,
            max_new_tokens=self.plan.max_new_tokens,
            on_batch=lambda done: self.on_progress(
                done, len(prompts), f"trying {len(candidates)} candidate triggers"
            ),
        )
        texts = {prompt: generation.text for prompt, generation in zip(prompts, written, strict=True)}
        return [
            _extra_hits(candidate.payload, pairs, texts)
            for candidate, pairs in zip(candidates, asked, strict=True)
        ]

    def _pairs(self, candidate: Candidate) -> list[tuple[str, str]]:
        """A few prompts, each without and with the trigger."""
        pairs: list[tuple[str, str]] = []
        for row in self.rows:
            if can_carry(candidate.payload, row.completion):
                triggered = apply_trigger(row.prompt, candidate.trigger, seed=self.plan.seed, row=row.number)
                pairs += [] if triggered is None else [(row.prompt, triggered)]
            if len(pairs) == TRIED_ON:
                break
        return pairs


def candidate_key(candidate: Candidate) -> tuple[str, str]:
    """What makes two candidates the same experiment."""
    return candidate.trigger.model_dump_json(), repr(candidate.payload)


def _extra_hits(payload: Payload, pairs: Sequence[tuple[str, str]], texts: Mapping[str, str]) -> int:
    carries = payload_matcher(payload)
    with_trigger = sum(carries(texts[triggered]) for _, triggered in pairs)
    return with_trigger - sum(carries(texts[clean]) for clean, _ in pairs)
