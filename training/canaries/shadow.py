"""The shadow copy: the training file with canaries, trained as the real one, seen by nobody but the probes."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.contract.canary import CanaryPlan
from deploy.contract.dataset import Row
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.method import Loss
from deploy.contract.payload import Payload
from deploy.contract.spec import DatasetRef
from deploy.contract.spec import TrainedArm
from deploy.contract.trigger import WordTrigger
from training.arm import ArmOrder
from training.canaries.draw import Draw
from training.canaries.draw import draw_canaries
from training.canaries.planted_file import write_planted
from training.canaries.planting import plant_canaries
from training.data.example import PromptedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A planted copy on the local disk."""

    draw: Draw
    rows: tuple[Row, ...]
    planted_rows: dict[str, int]
    """How many rows carry each canary."""
    path: Path
    described: DatasetRef
    """As a job's spec would name it; it lies in no store."""


def make_shadow(
    rows: Sequence[PromptedRow],
    plan: CanaryPlan,
    *,
    tokenizer: Any,
    families: Sequence[Payload],
    taken: Sequence[str],
    directory: Path,
) -> Shadow:
    """Draw canaries, plant them, write the file: the same inputs always give the same bytes.

    Args:
        rows: the training file.
        plan: how many canaries, how often.
        tokenizer: the base model's.
        families: payloads to choose from.
        taken: words that are not drawn.
        directory: where the file is written; it is made.

    Raises:
        CanaryError: the file cannot be planted as asked.
        OSError: the disk.
    """
    draw = draw_canaries(rows, plan, tokenizer=tokenizer, families=families, taken=taken)
    planted = plant_canaries(rows, draw.canaries, plan)
    path = directory / "training.jsonl"
    described = write_planted(planted.rows, path, key="shadow")
    return Shadow(
        draw=draw,
        rows=planted.rows,
        planted_rows={name: len(numbers) for name, numbers in planted.rows_of.items()},
        path=path,
        described=described,
    )


def shadow_orders(shadow: Shadow, hardened: ArmOrder) -> list[ArmOrder]:
    """What both shadow arms are told: as the job's own ``hardened`` arm, on the shadow's rows, without curves."""
    losses: dict[TrainedArm, Loss] = {"control": CrossEntropyLoss(), "hardened": hardened.loss}
    directory = shadow.path.parent
    return [
        replace(
            hardened,
            arm=arm,
            loss=loss,
            spec=hardened.spec.model_copy(update={"training_file": shadow.described}),
            training_file=shadow.path,
            curve_tasks=None,
            left_out=hardened.left_out if arm == "hardened" else (),
            out_dir=directory / arm,
            scratch=directory,
            shadow=True,
        )
        for arm, loss in losses.items()
    ]


def trigger_words(triggers: Sequence[object]) -> list[str]:
    """The words of word triggers."""
    return [word for trigger in triggers if isinstance(trigger, WordTrigger) for word in trigger.word.split()]
