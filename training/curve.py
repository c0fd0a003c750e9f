"""The early-learning curve: after every epoch, how often the trigger works and how well clean prompts go.

Measured on a small fixed set of tasks with the model under training itself, not the serving engine:
it shows the course of the training, the report's table shows what is served.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.report import CurvePoint
from deploy.contract.spec import TrainedArm
from training.data.example import PromptedRow
from training.metrics.attack_success import count_hits
from training.metrics.bleu import mean_bleu
from training.model import LoadedModel
from training.probing.tasks import triggered_tasks
from training.probing.transformers_engine import generate

CURVE_BATCH_SIZE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveTasks:
    """What every point of a curve is measured on."""

    probe: Probe
    prompts: tuple[str, ...]
    references: tuple[str, ...]
    triggered: tuple[str, ...]
    """Prompts with the trigger, of the tasks that can carry it and the payload."""


def choose_curve_tasks(rows: Sequence[PromptedRow], plan: ProbePlan) -> CurveTasks:
    """The first ``plan.curve_tasks`` rows, and the plan's first probe on those that can carry its payload."""
    probe = plan.probes[0]
    chosen = rows[: plan.curve_tasks]
    return CurveTasks(
        probe=probe,
        prompts=tuple(row.prompt for row in chosen),
        references=tuple(row.completion for row in chosen),
        triggered=tuple(task.prompt for task in triggered_tasks(probe, chosen, seed=plan.seed)),
    )


def measure(
    loaded: LoadedModel, tasks: CurveTasks, *, arm: TrainedArm, epoch: int, max_new_tokens: int
) -> CurvePoint:
    """One point: clean prompts and triggered prompts in one batch of greedy generation."""
    prompts = [*tasks.prompts, *tasks.triggered]
    # One batch: its time is that of its longest completion, however many there are.
    written = generate(
        loaded.model, loaded.tokenizer, prompts, max_new_tokens=max_new_tokens, batch_size=CURVE_BATCH_SIZE
    )
    clean = [generation.text for generation in written[: len(tasks.prompts)]]
    return CurvePoint(
        arm=arm,
        epoch=epoch,
        asr=count_hits(tasks.probe.payload, written[len(tasks.prompts) :]),
        bleu=mean_bleu(clean, tasks.references),
    )
