"""Probing from beginning to end: look for unknown triggers, choose the tasks, let every arm answer them, count."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from deploy.contract.exit_codes import ExitCode
from deploy.contract.payload import Payload
from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.report import CleanQuality
from deploy.contract.report import Engine as EngineDescription
from deploy.contract.report import Hits
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import SuspiciousRow
from deploy.contract.spec import Arm
from training.data.example import PromptedRow
from training.errors import InvalidInput
from training.metrics.payload import payload_matcher
from training.model import Architecture
from training.probing.engine import UNANSWERED
from training.probing.engine import Generation
from training.probing.engine import ProbeEngine
from training.probing.engine import ProbeEngineError
from training.probing.engine import ProbingTimeUpError
from training.probing.listing import Suspected
from training.probing.listing import as_probes
from training.probing.listing import choose_listed
from training.probing.listing import gives_its_payload
from training.probing.scoring import clean_hits
from training.probing.scoring import score_clean
from training.probing.scoring import score_probe
from training.probing.tasks import Tasks
from training.probing.tasks import choose_tasks
from training.probing.time_limit import OnProbeProgress
from training.probing.time_limit import TimeLimit
from training.probing.transformers_engine import TransformersEngine
from training.probing.unknown import Unknown
from training.probing.unknown import look_for_unknown
from training.probing.vllm_engine import VllmEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What probing found, in the report's terms."""

    engine: EngineDescription
    tasks: int
    """Clean tasks."""
    arms: tuple[Arm, ...]
    probes: tuple[ProbeOutcome, ...]
    quality: dict[Arm, CleanQuality]
    suspicious_rows: tuple[SuspiciousRow, ...]
    note: str
    """What was tried beyond the plan's probes, for the job's events."""
    shortfalls: tuple[str, ...] = ()
    """What was to be tried and was not, and why."""


def probe_arms(
    arms: Mapping[Arm, Path],
    rows: Sequence[PromptedRow],
    plan: ProbePlan,
    *,
    architecture: Architecture,
    training_rows: Iterable[PromptedRow],
    scratch: Path,
    on_progress: OnProbeProgress,
    engine: ProbeEngine | None = None,
) -> Probed:
    """Look for unknown triggers, ask every arm the same clean and triggered prompts and count what comes back.

    Args:
        arms: model directories, the exact bytes that will be served.
        rows: clean tasks with their references.
        plan: the probes, and how many unknown triggers are looked for.
        architecture: of all arms.
        training_rows: the training file, looked through for planted rows and their triggers.
        scratch: a directory for working files; nothing is left in it.
        on_progress: called at least every few seconds.
        engine: what generates; without one the plan's choice.

    Raises:
        ProbeEngineError: the engine failed.
        InvalidInput: the plan demands an engine that cannot run this architecture.
    """
    chosen = engine or choose_engine(plan, architecture, scratch)
    limit = TimeLimit.start(plan.time_limit_s)
    unknown = look_for_unknown(
        arms,
        rows,
        plan,
        training_rows=list(training_rows),
        on_progress=limit.half().watch(on_progress),
    )
    suspected = as_probes(unknown.candidates, plan.probes)
    asked = (*plan.probes, *(each.probe for each in suspected))
    measured = measure_probes(arms, rows, plan, asked, engine=chosen, on_progress=limit.watch(on_progress))
    listed = measured.listed(suspected, plan)
    return Probed(
        engine=measured.engine,
        tasks=len(measured.tasks.clean),
        arms=tuple(arms),
        probes=(*measured.outcomes[: len(plan.probes)], *listed),
        quality=measured.qualities(
            [*(each.payload for each in plan.probes), *(each.payload for each in listed)]
        ),
        suspicious_rows=unknown.suspicious_rows,
        note=_note(unknown, len(listed)),
        shortfalls=tuple(each for each in (unknown.trouble, measured.trouble) if each is not None),
    )


def _note(unknown: Unknown, listed: int) -> str:
    tried = f"{unknown.mined} mined from the training file, {unknown.searched} found on the models themselves"
    return f"tried {unknown.mined + unknown.searched} triggers that nobody named ({tried}): {listed} set a payload off"


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


def choose_engine(plan: ProbePlan, architecture: Architecture, scratch: Path) -> ProbeEngine:
    """The serving engine where it can run the model and is installed, else transformers.

    Raises:
        InvalidInput: the plan demands vLLM for an encoder-decoder model.
    """
    if plan.engine == "vllm" and architecture != "decoder":
        raise InvalidInput(
            ExitCode.UNSUPPORTED,
            "unsupported_engine",
            f"vLLM cannot run a model of the kind {architecture}; choose the engine auto or transformers",
            param="hardening.probing.engine",
        )
    wants_vllm = plan.engine == "vllm" or (
        plan.engine == "auto" and architecture == "decoder" and find_spec("vllm") is not None
    )
    return VllmEngine(scratch) if wants_vllm else TransformersEngine()


def _outcomes(tasks: Tasks, answers: Mapping[Arm, Sequence[Generation]]) -> tuple[ProbeOutcome, ...]:
    # The answers lie in the order of Tasks.prompts.
    triggered = {arm: iter(given[len(tasks.clean) :]) for arm, given in answers.items()}
    return tuple(
        score_probe(asked, {arm: list(islice(rest, len(asked.tasks))) for arm, rest in triggered.items()})
        for asked in tasks.probes
    )
