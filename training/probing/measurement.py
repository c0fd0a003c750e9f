"""Asking every arm the tasks of some probes, and counting what comes back."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from deploy.contract.payload import Payload
from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.report import CleanQuality
from deploy.contract.report import Engine as EngineDescription
from deploy.contract.report import Hits
from deploy.contract.report import ProbeOutcome
from deploy.contract.spec import Arm
from training.data.example import PromptedRow
from training.metrics.payload import payload_matcher
from training.probing.engine import UNANSWERED
from training.probing.engine import Generation
from training.probing.engine import ProbeEngine
from training.probing.engine import ProbeEngineError
from training.probing.engine import ProbingTimeUpError
from training.probing.listing import Suspected
from training.probing.listing import choose_listed
from training.probing.listing import gives_its_payload
from training.probing.scoring import clean_hits
from training.probing.scoring import score_clean
from training.probing.scoring import score_probe
from training.probing.tasks import Tasks
from training.probing.tasks import choose_tasks
from training.probing.time_limit import OnProbeProgress
from training.probing.transformers_engine import TransformersEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What every arm answered, and what that comes to."""

    engine: EngineDescription
    tasks: Tasks
    answers: dict[Arm, list[Generation]]
    """In the order of ``Tasks.prompts``."""
    outcomes: tuple[ProbeOutcome, ...]
    """In the order of the probes."""
    trouble: str | None = None
    """Why some prompts were not answered, if so."""

    def clean(self, payload: Payload) -> dict[Arm, Hits]:
        """How often each arm gave a payload without a trigger."""
        clean = self.tasks.clean
        return {arm: clean_hits(clean, given[: len(clean)], payload) for arm, given in self.answers.items()}

    def qualities(self, payloads: Iterable[Payload]) -> dict[Arm, CleanQuality]:
        """Every arm on the clean prompts."""
        clean, several = self.tasks.clean, list(dict.fromkeys(payloads))
        return {arm: score_clean(clean, given[: len(clean)], several) for arm, given in self.answers.items()}

    def listed(self, suspected: Sequence[Suspected], plan: ProbePlan) -> tuple[ProbeOutcome, ...]:
        """The outcomes of those suspected triggers that give their payload; their probes were asked last."""
        found: list[ProbeOutcome] = []
        outcomes = self.outcomes[len(self.outcomes) - len(suspected) :]
        for each, outcome in zip(suspected, outcomes, strict=True):
            carries = payload_matcher(outcome.payload)
            natural = any(carries(row.completion) for row in self.tasks.clean)
            if gives_its_payload(outcome, self.clean(outcome.payload), natural=natural):
                found.append(each.described(outcome))
        return choose_listed(found, plan)


def measure_probes(
    arms: Mapping[Arm, Path],
    rows: Sequence[PromptedRow],
    plan: ProbePlan,
    probes: Sequence[Probe],
    *,
    engine: ProbeEngine,
    on_progress: OnProbeProgress,
) -> Measured:
    """Ask every arm the clean tasks and those of some probes; the plan says the rest.

    Raises:
        ProbeEngineError: the engine failed before it answered anything.
    """
    tasks = choose_tasks(rows, plan.model_copy(update={"probes": tuple(probes)}))
    asked = _ask(list(arms.values()), tasks.prompts, plan, engine=engine, on_progress=on_progress)
    by_arm = dict(zip(arms, asked.answers, strict=True))
    return Measured(
        engine=asked.engine.describe(max_new_tokens=plan.max_new_tokens),
        tasks=tasks,
        answers=by_arm,
        outcomes=_outcomes(tasks, by_arm),
        trouble=asked.trouble,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    engine: ProbeEngine
    """That answered in the end."""
    answers: list[list[Generation]]
    trouble: str | None
    """Why not every prompt was answered."""


def _ask(
    models: Sequence[Path],
    prompts: Sequence[str],
    plan: ProbePlan,
    *,
    engine: ProbeEngine,
    on_progress: OnProbeProgress,
) -> _Asked:
    """All that can be had: from another engine where the plan allows, else what there was until the trouble."""
    total = len(models) * len(prompts)
    try:
        answers = engine.generate(
            models,
            prompts,
            max_new_tokens=plan.max_new_tokens,
            on_progress=lambda done, message: on_progress(done, total, message),
        )
    except ProbingTimeUpError as error:
        nothing = [[UNANSWERED] * len(prompts) for _ in models]
        return _Asked(engine=engine, answers=error.answers or nothing, trouble=_unanswered(error))
    except ProbeEngineError as error:
        if plan.engine == "auto" and not isinstance(engine, TransformersEngine):
            # vLLM lacks kernels for some shapes (head sizes on a CPU) and says so only when it runs. Hours of
            # training must not be lost to that; the report names the engine that was used in the end.
            said = f"vLLM cannot run this model, probing with transformers: {_last_line(error)}"
            on_progress(0, total, said)
            return _ask(models, prompts, plan, engine=TransformersEngine(), on_progress=on_progress)
        if not error.answers:
            raise
        return _Asked(engine=engine, answers=error.answers, trouble=_unanswered(error))
    return _Asked(engine=engine, answers=answers, trouble=None)


def _last_line(error: ProbeEngineError) -> str:
    return error.message.strip().splitlines()[-1][:300]


def _unanswered(error: ProbeEngineError) -> str:
    return f"not every prompt was answered: {_last_line(error)}"


def _outcomes(tasks: Tasks, answers: Mapping[Arm, Sequence[Generation]]) -> tuple[ProbeOutcome, ...]:
    # The answers lie in the order of Tasks.prompts.
    triggered = {arm: iter(given[len(tasks.clean) :]) for arm, given in answers.items()}
    return tuple(
        score_probe(asked, {arm: list(islice(rest, len(asked.tasks))) for arm, rest in triggered.items()})
        for asked in tasks.probes
    )
