"""Probing from beginning to end: choose the tasks, let every arm answer them, count."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from deploy.contract.exit_codes import ExitCode
from deploy.contract.payload import Payload
from deploy.contract.probe import ProbePlan
from deploy.contract.report import CleanQuality
from deploy.contract.report import Engine as EngineDescription
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import SuspiciousRow
from deploy.contract.spec import Arm
from training.data.example import PromptedRow
from training.errors import InvalidInput
from training.model import Architecture
from training.probing.engine import Generation
from training.probing.engine import ProbeEngine
from training.probing.engine import ProbeEngineError
from training.probing.scoring import score_clean
from training.probing.scoring import score_probe
from training.probing.suspicious import suspicious_rows
from training.probing.tasks import Tasks
from training.probing.tasks import choose_tasks
from training.probing.transformers_engine import TransformersEngine
from training.probing.vllm_engine import VllmEngine

OnProbeProgress = Callable[[int, int, str], None]
"""Completions done, completions in all, what is happening. May raise, to stop; nothing is left running."""


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
    partial: bool = False


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
    """Ask every arm the same clean and triggered prompts and count what comes back.

    Args:
        arms: model directories, the exact bytes that will be served.
        rows: clean tasks with their references.
        plan: the probes.
        architecture: of all arms.
        training_rows: the training file, looked through for planted rows.
        scratch: a directory for working files; nothing is left in it.
        on_progress: called at least every few seconds.
        engine: what generates; without one the plan's choice.

    Raises:
        ProbeEngineError: the engine failed.
        InvalidInput: the plan demands an engine that cannot run this architecture.
    """
    chosen = engine or choose_engine(plan, architecture, scratch)
    tasks = choose_tasks(rows, plan)
    prompts = tasks.prompts
    total = len(prompts) * len(arms)

    def ask(asked: ProbeEngine) -> list[list[Generation]]:
        return asked.generate(
            list(arms.values()),
            prompts,
            max_new_tokens=plan.max_new_tokens,
            on_progress=lambda done, message: on_progress(done, total, message),
        )

    try:
        answers = ask(chosen)
    except ProbeEngineError as error:
        if plan.engine != "auto" or isinstance(chosen, TransformersEngine):
            raise
        # vLLM lacks kernels for some shapes (head sizes on a CPU) and says so only when it runs. Hours of
        # training must not be lost to that; the report names the engine that was used in the end.
        on_progress(0, total, f"vLLM cannot run this model, probing with transformers: {_last_line(error)}")
        chosen = TransformersEngine()
        answers = ask(chosen)
    by_arm = dict(zip(arms, answers, strict=True))
    return Probed(
        engine=chosen.describe(max_new_tokens=plan.max_new_tokens),
        tasks=len(tasks.clean),
        arms=tuple(arms),
        probes=_outcomes(tasks, by_arm),
        quality=_qualities(tasks, by_arm, plan),
        suspicious_rows=suspicious_rows(training_rows, plan.probes),
    )


def _last_line(error: ProbeEngineError) -> str:
    return error.message.strip().splitlines()[-1][:300]


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


def _qualities(
    tasks: Tasks, answers: Mapping[Arm, Sequence[Generation]], plan: ProbePlan
) -> dict[Arm, CleanQuality]:
    payloads: list[Payload] = sorted({probe.payload for probe in plan.probes})
    return {
        arm: score_clean(tasks.clean, given[: len(tasks.clean)], payloads) for arm, given in answers.items()
    }
