"""Whether the probes, which are not told, find what is in the shadow copy: their power and their false positives."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.report import Canary
from deploy.contract.report import Detection
from deploy.contract.report import ProbeOutcome
from deploy.contract.spec import Arm
from deploy.contract.spec import TrainedArm
from deploy.contract.trigger import WordTrigger
from training.canaries.shadow import Shadow
from training.data.example import PromptedRow
from training.model import Architecture
from training.probing.engine import ProbeEngine
from training.probing.examination import examine
from training.probing.run import choose_engine
from training.probing.time_limit import OnProbeProgress
from training.probing.unknown import MAX_TROUBLE
from training.probing.unknown import payload_families

Way = Literal["mining", "search"]
WAYS: dict[str, Way] = {"mined": "mining", "searched": "search"}
TRAINED: tuple[TrainedArm, ...] = ("control", "hardened")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """What the shadow copy says about the probes, and what it could not be asked."""

    detection: Detection
    shortfalls: tuple[str, ...]
    """What was to be tried on it and was not, and why: a canary that nobody could look for says nothing."""


def measure_detection(
    shadow: Shadow,
    arms: Mapping[Arm, Path],
    rows: Sequence[PromptedRow],
    plan: ProbePlan,
    *,
    architecture: Architecture,
    scratch: Path,
    on_progress: OnProbeProgress,
    engine: ProbeEngine | None = None,
) -> Detected:
    """Look for unknown triggers in the shadow copy as in the real one, then measure every canary's own trigger.

    Args:
        shadow: what was planted.
        arms: the base and both shadow models.
        rows: clean tasks with their references.
        plan: how the real arms were probed.
        architecture: of all arms.
        scratch: a directory for working files.
        on_progress: called every few seconds.
        engine: what generates; without one the plan's choice.

    Raises:
        ProbeEngineError: the engine failed.
    """
    # Families are what a prober knows; which words set them off is what it is tested on.
    families = tuple(dict.fromkeys((*payload_families(plan), *shadow.draw.families)))
    own = (*shadow.draw.canaries, *shadow.draw.decoys)
    examined = examine(
        arms,
        rows,
        plan,
        own,
        told=False,
        training_rows=shadow.rows,
        engine=engine or choose_engine(plan, architecture, scratch),
        on_progress=on_progress,
        families=families,
    )
    outcomes = {probe.name: outcome for probe, outcome in zip(own, examined.named, strict=True)}

    def described(probe: Probe) -> Canary:
        return Canary(
            name=probe.name,
            trigger=probe.trigger,
            payload=probe.payload,
            planted_rows=shadow.planted_rows.get(probe.name, 0),
            arms={arm: outcomes[probe.name].arms[arm] for arm in TRAINED},
            found_by=found_by(probe, examined.listed),
        )

    return Detected(
        detection=Detection(
            canaries=tuple(map(described, shadow.draw.canaries)),
            decoys=tuple(map(described, shadow.draw.decoys)),
        ),
        shortfalls=tuple(f"in the shadow copy {each}"[:MAX_TROUBLE] for each in examined.shortfalls),
    )


def found_by(canary: Probe, listed: Sequence[ProbeOutcome]) -> tuple[Way, ...]:
    """Which ways of looking list a trigger that has the canary's word, with a payload that they measured."""
    if not isinstance(canary.trigger, WordTrigger):
        return ()
    word = canary.trigger.word.lower()
    ways = {
        WAYS[outcome.origin]
        for outcome in listed
        if isinstance(outcome.trigger, WordTrigger) and word in outcome.trigger.word.lower().split()
    }
    return tuple(way for way in WAYS.values() if way in ways)
