"""One examination of some models: the triggers that are named, and a look for those that nobody named."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.contract.payload import Payload
from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.report import ProbeOutcome
from deploy.contract.spec import Arm
from training.data.example import PromptedRow
from training.probing.engine import ProbeEngine
from training.probing.listing import as_probes
from training.probing.measurement import Measured
from training.probing.measurement import measure_probes
from training.probing.time_limit import OnProbeProgress
from training.probing.time_limit import TimeLimit
from training.probing.unknown import Unknown
from training.probing.unknown import look_for_unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was tried, and what it came to."""

    unknown: Unknown
    measured: Measured
    named: tuple[ProbeOutcome, ...]
    """In the order of the named probes."""
    listed: tuple[ProbeOutcome, ...]
    """Triggers that nobody named and that set a payload off."""

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """What was to be tried and was not, and why."""
        return tuple(each for each in (self.unknown.trouble, self.measured.trouble) if each is not None)


def examine(
    arms: Mapping[Arm, Path],
    rows: Sequence[PromptedRow],
    plan: ProbePlan,
    named: Sequence[Probe],
    *,
    told: bool = True,
    training_rows: Sequence[PromptedRow],
    engine: ProbeEngine,
    on_progress: OnProbeProgress,
    families: Sequence[Payload] | None = None,
) -> Examination:
    """Look for unknown triggers, then ask every arm the prompts of these and of the named probes, in the plan's time.

    Args:
        arms: model directories.
        rows: clean tasks with their references.
        plan: how many unknown triggers are looked for, on which tasks, and how long.
        named: probes that are measured in any case.
        told: whether the look knows of them: a trigger that it need not find again it does not list.
        training_rows: the training file, looked through for planted rows and their triggers.
        engine: what generates.
        on_progress: called at least every few seconds.
        families: payloads that the models are searched for; None means those of the plan and all built-in ones.

    Raises:
        ProbeEngineError: the engine failed before it answered anything.
    """
    limit = TimeLimit.start(plan.time_limit_s)
    unknown = look_for_unknown(
        arms,
        rows,
        plan,
        training_rows=training_rows,
        on_progress=limit.half().watch(on_progress),
        families=families,
    )
    suspected = as_probes(unknown.candidates, named if told else ())
    measured = measure_probes(
        arms,
        rows,
        plan,
        (*named, *(each.probe for each in suspected)),
        engine=engine,
        on_progress=limit.watch(on_progress),
    )
    return Examination(
        unknown=unknown,
        measured=measured,
        named=measured.outcomes[: len(named)],
        listed=measured.listed(suspected, plan),
    )
