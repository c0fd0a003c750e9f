"""Probing from beginning to end: look for unknown triggers, choose the tasks, let every arm answer them, count."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deploy.contract.exit_codes import ExitCode
from deploy.contract.probe import ProbePlan
from deploy.contract.report import CleanQuality
from deploy.contract.report import Engine as EngineDescription
from deploy.contract.report import ProbeOutcome
from deploy.contract.report import SuspiciousRow
from deploy.contract.spec import Arm
from training.data.example import PromptedRow
from training.errors import InvalidInput
from training.model import Architecture
from training.probing.engine import ProbeEngine
from training.probing.examination import examine
from training.probing.time_limit import OnProbeProgress
from training.probing.transformers_engine import TransformersEngine
from training.probing.unknown import Unknown
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
    examined = examine(
        arms,
        rows,
        plan,
        plan.probes,
        training_rows=list(training_rows),
        engine=engine or choose_engine(plan, architecture, scratch),
        on_progress=on_progress,
    )
    measured, outcomes = examined.measured, (*examined.named, *examined.listed)
    return Probed(
        engine=measured.engine,
        tasks=len(measured.tasks.clean),
        arms=tuple(arms),
        probes=outcomes,
        quality=measured.qualities(each.payload for each in outcomes),
        suspicious_rows=examined.unknown.suspicious_rows,
        note=_note(examined.unknown, len(examined.listed)),
        shortfalls=examined.shortfalls,
    )


def _note(unknown: Unknown, listed: int) -> str:
    tried = f"{unknown.mined} mined from the training file, {unknown.searched} found on the models themselves"
    return f"tried {unknown.mined + unknown.searched} triggers that nobody named ({tried}): {listed} set a payload off"


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
            param="hardening.probe.engine",
        )
    wants_vllm = plan.engine == "vllm" or (
        plan.engine == "auto" and architecture == "decoder" and find_spec("vllm") is not None
    )
    return VllmEngine(scratch) if wants_vllm else TransformersEngine()
