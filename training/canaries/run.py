"""A shadow run from beginning to end: plant, train both arms, look for what was planted.

The arms are trained like the job's own, with checkpoints under names of their own (``shadow-control``,
``shadow-hardened``), so a job that is cut in the middle of its shadow run resumes there.
"""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.contract.spec import Arm
from deploy.store.protocol import StoreError
from training.arm import ArmEvent
from training.arm import ArmOrder
from training.arms import TrainArms
from training.arms import train_arms
from training.canaries.detection import Detected
from training.canaries.detection import measure_detection
from training.canaries.error import CanaryError
from training.canaries.shadow import make_shadow
from training.canaries.shadow import shadow_orders
from training.canaries.shadow import trigger_words
from training.data.example import PromptedRow
from training.data.rows import load_rows
from training.errors import JobError
from training.model import Architecture
from training.model import load_tokenizer
from training.probing.time_limit import OnProbeProgress
from training.probing.unknown import payload_families

SHADOW_FAULTS: Final = (JobError, CanaryError, StoreError, OSError, RuntimeError, ValueError, MemoryError)
"""What may go wrong in a shadow run without being a reason to lose the run that it shadows. Interrupted, which is
a JobError, is none of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowWatch:
    """Whom a shadow run tells what."""

    on_event: Callable[[ArmEvent], None]
    on_progress: OnProbeProgress
    stop_asked: Callable[[], bool]
    train_arms: TrainArms = train_arms
    """How the shadow arms are trained."""


def run_shadow(
    hardened: ArmOrder, rows: Sequence[PromptedRow], *, architecture: Architecture, watch: ShadowWatch
) -> Detected:
    """Measure the probes on a planted copy of a job's own training.

    Args:
        hardened: the order of the job's hardened arm, whose spec has a canary plan.
        rows: clean tasks with their references.
        architecture: of the base model.
        watch: who is told.

    Raises:
        Interrupted: told to stop; checkpoints of the shadow arms have been written.
        CanaryError: the training file cannot be planted as asked.
        JobError, StoreError, OSError: as a job's own training and probing.
    """
    spec = hardened.spec
    if spec.canaries is None:
        raise CanaryError("the spec has no canary plan")
    directory = hardened.scratch / "shadow"
    shadow = make_shadow(
        load_rows(hardened.training_file, spec.training_file),
        spec.canaries,
        tokenizer=load_tokenizer(hardened.base_dir),
        families=payload_families(spec.probing),
        taken=trigger_words([probe.trigger for probe in spec.probing.probes]),
        directory=directory,
    )
    planted = sum(shadow.planted_rows.values())
    said = f"training both arms on a copy with {len(shadow.draw.canaries)} canaries in {planted} of {len(shadow.rows)} rows"
    watch.on_event(ArmEvent(message=said, data={}))
    orders = shadow_orders(shadow, hardened)
    watch.train_arms(orders, on_event=watch.on_event, stop_asked=watch.stop_asked)
    arms: dict[Arm, Path] = {"base": hardened.base_dir, **{order.arm: order.out_dir for order in orders}}
    return measure_detection(
        shadow,
        arms,
        rows,
        spec.probing,
        architecture=architecture,
        scratch=directory,
        on_progress=watch.on_progress,
    )
