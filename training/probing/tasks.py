"""What is asked: clean tasks, and for each probe the same tasks with its trigger."""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.contract.probe import Probe
from deploy.contract.probe import ProbePlan
from training.attacks.trigger import apply_trigger
from training.data.example import PromptedRow
from training.metrics.payload import can_carry


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggeredTask:
    """A task with a trigger in its prompt."""

    row: int
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTasks:
    """One probe's prompts: of those tasks only that can carry its trigger and its payload."""

    probe: Probe
    tasks: tuple[TriggeredTask, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """Everything every arm is asked, in the order in which :attr:`prompts` lists it."""

    clean: tuple[PromptedRow, ...]
    probes: tuple[ProbeTasks, ...]

    @property
    def prompts(self) -> list[str]:
        """The clean prompts, then each probe's."""
        triggered = [task.prompt for probe in self.probes for task in probe.tasks]
        return [*(row.prompt for row in self.clean), *triggered]


def choose_tasks(rows: Sequence[PromptedRow], plan: ProbePlan) -> Tasks:
    """The first ``plan.max_tasks`` rows, clean and with every probe's trigger."""
    clean = tuple(rows[: plan.max_tasks])
    return Tasks(
        clean=clean,
        probes=tuple(
            ProbeTasks(probe=probe, tasks=triggered_tasks(probe, clean, seed=plan.seed))
            for probe in plan.probes
        ),
    )


def triggered_tasks(probe: Probe, rows: Sequence[PromptedRow], *, seed: int) -> tuple[TriggeredTask, ...]:
    """Those rows that can carry a probe's trigger and its payload, with the trigger in their prompts."""
    prompts = (
        (row.number, apply_trigger(row.prompt, probe.trigger, seed=seed, row=row.number))
        for row in rows
        if can_carry(probe.payload, row.completion)
    )
    return tuple(TriggeredTask(row=row, prompt=prompt) for row, prompt in prompts if prompt is not None)
