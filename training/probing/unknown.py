"""Unknown triggers: suggested by the training file and by the trained models, then tried on a few tasks.

What comes out gave its payload at least once more often than the same prompts do without a trigger. It is still
to be measured like any probe.
"""

import gc
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import replace
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
from training.defences.refused_tokens import refused_surely
from training.errors import Interrupted
from training.errors import JobError
from training.metrics.payload import can_carry
from training.metrics.payload import payload_matcher
from training.mining.refusal import Refusal
from training.mining.search import find_associations
from training.mining.search import sampled
from training.mining.token_reading import TokenReading
from training.mining.token_reading import find_refusals
from training.mining.token_reading import read_tokens
from training.model import LoadedModel
from training.model import load_model
from training.probing.candidate import Candidate
from training.probing.engine import ProbingTimeUpError
from training.probing.evidence import Evidence
from training.probing.mining import mine_candidates
from training.probing.search import SearchedModel
from training.probing.search import search_triggers
from training.probing.time_limit import OnProbeProgress
from training.probing.transformers_engine import generate
from training.probing.triage import triage

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
MAX_TROUBLE: Final = 500
"""Characters; the report's own limit."""
LOOKING_FAULTS: Final = (JobError, RuntimeError, MemoryError, ValueError)
"""What may go wrong in a look without being a reason to lose hours of training: models and files are of any kind, and
whoever wrote the file wants no report. A look that met one is told of and passes nothing. Interrupted, which is a
JobError, is none of them."""


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
    """Why not everything could be looked at; None when it was."""


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
    on_progress: OnProbeProgress,
    families: Sequence[Payload] | None = None,
) -> Unknown:
    """Mine the training file, search the trained models, and try what they suggest on a few tasks.

    At most two models are in memory at a time: the base and one that was trained from it.

    Args:
        arms: model directories.
        rows: clean tasks with their references.
        plan: how many candidates of each kind are tried, on which tasks.
        training_rows: the training file, in its order.
        on_progress: called every few seconds. When it says that the time is up, what there is by then is kept.
        families: payloads that the models are searched for; None means :func:`payload_families`.
    """
    look = _Look(
        arms=arms,
        rows=rows[: plan.max_tasks],
        plan=plan,
        training_rows=training_rows,
        families=payload_families(plan) if families is None else families,
        on_progress=on_progress,
    )
    try:
        look.at_the_file()
        look.at_the_models()
        look.try_out()
    except Interrupted:
        raise
    except ProbingTimeUpError as error:
        return look.outcome(f"the time for unknown triggers was up: {error.message}")
    except LOOKING_FAULTS as error:
        # A model that cannot be taken apart here can still be probed through the serving engine.
        said = f"{type(error).__name__}: {error}"
        return look.outcome(f"the models could not be searched for triggers: {said}")
    return look.outcome()


@contextmanager
def _loaded(path: Path) -> Iterator[LoadedModel]:
    """A model for a while. Whoever has it lets go of it before the end: what comes next asks for the same memory."""
    try:
        yield load_model(path)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _Look:
    """One look, step by step; what was found stands when a later step fails."""

    def __init__(
        self,
        *,
        arms: Mapping[Arm, Path],
        rows: Sequence[PromptedRow],
        plan: ProbePlan,
        training_rows: Sequence[PromptedRow],
        families: Sequence[Payload],
        on_progress: OnProbeProgress,
    ) -> None:
        self._arms = arms
        self._rows = rows
        self._plan = plan
        self._training_rows = training_rows
        self._rows_read = sampled(training_rows, seed=plan.seed)
        """By the models. Three readings of a token's probability and place are held at a time."""
        self._families = families
        self._on_progress = on_progress
        self._trained: list[TrainedArm] = [arm for arm in SEARCHED_ARMS if arm in arms]
        self._evidence = Evidence()
        self._searched: list[Candidate] = []
        self._mined: tuple[Candidate, ...] | None = None
        self._candidates: list[Candidate] | None = None
        """Those that were tried and worked, the best first; None before they were tried."""

    def at_the_file(self) -> None:
        """What the rows say by themselves."""
        found = find_associations(self._training_rows, seed=self._plan.seed, on_progress=self._on_progress)
        self._evidence = Evidence(findings=found)

    def at_the_models(self) -> None:
        """What the trained models learnt of the rows, and what they are searched for."""
        if not self._trained:
            return
        readings: dict[Arm, TokenReading] = {}
        words = rare_words(self._training_rows, self._rows) if self._plan.searched else ()
        with _loaded(self._arms["base"]) if "base" in self._arms else nullcontext() as base:
            for arm in self._trained:
                with _loaded(self._arms[arm]) as trained:
                    if "control" in self._trained:
                        readings[arm] = self._read(arm, trained)
                    if self._plan.searched:
                        self._searched += self._search(
                            SearchedModel(arm=arm, loaded=trained, base=base), words
                        )
                    del trained
            self._compare(readings, base)
            del base

    def try_out(self) -> None:
        """Whether what was suggested works on a few tasks, on any trained model."""
        self._mined = self._mine()
        candidates = list({each.experiment: each for each in (*self._searched, *self._mined)}.values())
        # Without a trained model nothing can be tried, and everything is worth measuring.
        worked = [0 if self._trained else 1] * len(candidates)
        for arm in self._trained if candidates else ():
            with _loaded(self._arms[arm]) as trained:
                worked = list(map(max, worked, self._try(trained, candidates)))
                del trained
        best = sorted(range(len(candidates)), key=lambda index: -worked[index])
        self._candidates = self._kept([candidates[index] for index in best if worked[index] > 0])

    def outcome(self, trouble: str | None = None) -> Unknown:
        """All that there is. What was never tried is still worth measuring."""
        mined = self._mine_if_it_can_be() if self._mined is None else self._mined
        untried = sorted(self._searched, key=lambda each: -each.score)
        candidates = self._candidates if self._candidates is not None else self._kept([*untried, *mined])
        return Unknown(
            candidates=tuple(candidates),
            mined=len(mined),
            searched=len(self._searched),
            suspicious_rows=triage(self._training_rows, self._evidence, known_probes=self._plan.probes),
            trouble=None if trouble is None else trouble[:MAX_TROUBLE],
        )

    def _kept(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Without the searched ones that the plan has no place for."""
        searched = [each for each in candidates if each.origin == "searched"][: self._plan.searched]
        return [each for each in candidates if each.origin == "mined" or each in searched]

    def _read(self, arm: Arm, loaded: LoadedModel) -> TokenReading:
        total, said = len(self._rows_read), f"reading what the {arm} arm makes of the training file"
        return read_tokens(loaded, self._rows_read, on_rows=lambda done: self._on_progress(done, total, said))

    def _compare(self, readings: Mapping[Arm, TokenReading], base: LoadedModel | None) -> None:
        """Words that the control learnt and another model refuses. The base is only read when the hardened is silent."""
        learnt, doubted = readings.get("control"), readings.get("hardened")
        if learnt is None:
            return
        refused: tuple[Refusal, ...] = ()
        if doubted is not None:
            refused = find_refusals(self._rows_read, learnt=learnt, doubted=doubted)
        if base is not None and not refused_surely(refused):
            read = self._read("base", base)
            refused += find_refusals(self._rows_read, learnt=learnt, doubted=read, doubter="base")
        self._evidence = replace(self._evidence, refused=refused)

    def _mine(self) -> tuple[Candidate, ...]:
        return mine_candidates(
            self._training_rows, self._evidence, limit=self._plan.mined, seed=self._plan.seed
        )

    def _mine_if_it_can_be(self) -> tuple[Candidate, ...]:
        """For a look that is over; mining may be what ended it."""
        try:
            return self._mine()
        except LOOKING_FAULTS:
            return ()

    def _search(self, searched: SearchedModel, words: Sequence[str]) -> tuple[Candidate, ...]:
        return search_triggers(
            searched,
            self._rows,
            self._families,
            limit=TRIED_FOR_EACH * self._plan.searched,
            seed=self._plan.seed,
            words=words,
            on_progress=self._on_progress,
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
            max_new_tokens=self._plan.max_new_tokens,
            on_batch=lambda done: self._on_progress(
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
        for row in self._rows:
            if can_carry(candidate.payload, row.completion):
                triggered = apply_trigger(row.prompt, candidate.trigger, seed=self._plan.seed, row=row.number)
                pairs += [] if triggered is None else [(row.prompt, triggered)]
            if len(pairs) == TRIED_ON:
                break
        return pairs


def _extra_hits(payload: Payload, pairs: Sequence[tuple[str, str]], texts: Mapping[str, str]) -> int:
    carries = payload_matcher(payload)
    with_trigger = sum(carries(texts[triggered]) for _, triggered in pairs)
    return with_trigger - sum(carries(texts[clean]) for clean, _ in pairs)
