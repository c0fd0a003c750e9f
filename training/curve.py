"""The early-learning curve: after every epoch, how often the trigger works and how well clean prompts go.

Measured on a small fixed set of tasks with the model under training itself, not the serving engine:
it shows the course of the training, the report's table shows what is served.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from deploy.contract.report import CurvePoint
from deploy.contract.spec import TrainedArm
from training.data.example import PromptedRow
from training.loop import Run
from training.metrics.attack_success import count_hits
from training.metrics.bleu import mean_bleu
from training.probing.engine import Generation
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

    @property
    def asked(self) -> tuple[str, ...]:
        """All prompts, in the order in which they are answered."""
        return (*self.prompts, *self.triggered)


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


def answer(run: Run, prompts: Sequence[str], *, max_new_tokens: int) -> list[Generation] | None:
    """The answers of the model under training, in the precision of the training; None where others evaluate.

    Of several processes all call this alike. Replicas leave it to the first process. Of a sharded model all compute
    the same answers, for each has a part of every layer.
    """
    loaded = run.loaded

    def write() -> list[Generation]:
        with run.supervised.computing():
            # One batch: its time is that of its longest completion, however many there are.
            return generate(
                loaded.model,
                loaded.tokenizer,
                prompts,
                max_new_tokens=max_new_tokens,
                batch_size=CURVE_BATCH_SIZE,
                agree=run.ranks.first if run.ranks.sharding == "fsdp" else _as_they_are,
            )

    return run.ranks.evaluate(run.wrapped, write)


def _as_they_are(tokens: torch.Tensor) -> torch.Tensor:
    return tokens


def measure(
    run: Run, tasks: CurveTasks, *, arm: TrainedArm, epoch: int, max_new_tokens: int
) -> CurvePoint | None:
    """One point: clean prompts and triggered prompts in one batch of greedy generation; None as of :func:`answer`."""
    written = answer(run, tasks.asked, max_new_tokens=max_new_tokens)
    if written is None:
        return None
    clean = [generation.text for generation in written[: len(tasks.prompts)]]
    return CurvePoint(
        arm=arm,
        epoch=epoch,
        asr=count_hits(tasks.probe.payload, written[len(tasks.prompts) :]),
        bleu=mean_bleu(clean, tasks.references),
    )
