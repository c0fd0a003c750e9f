"""What every rank of a training but the first does: the same steps on its share of the rows, and nothing that is seen.

The first rank (:mod:`training.arm`) reads the rows and the checkpoints, writes events, checkpoints and weights; the
others get from it what they need.
"""

import signal
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.method import Loss
from deploy.contract.spec import TrainingPlan
from training.checkpoints import gather
from training.checkpoints import restore_files
from training.curve import answer
from training.data.shared_examples import share_examples
from training.errors import Interrupted
from training.fresh_run import fresh_run
from training.fresh_run import save_run
from training.loop import Run
from training.loop import Watchers
from training.loop import train
from training.losses import build_loss
from training.parallel import Ranks


class MemberOrder(Document):
    """What a node is told of the next training, over the rendezvous."""

    number: Annotated[int, Field(ge=1)]
    """Of the trainings of this job, from 1."""
    name: str
    loss: Loss
    plan: TrainingPlan
    prompts: tuple[str, ...]
    """That the curve asks after every epoch; empty without one."""
    max_new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberWork:
    """What a rank is told by its node."""

    order: MemberOrder
    base_dir: Path
    threads: int | None


class _Member:
    """Takes part in what the first rank's reporter does with all ranks."""

    def __init__(self, order: MemberOrder) -> None:
        self._order = order
        self._saved_step = -1
        self.stop_asked = False

    def ask_stop(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.stop_asked = True

    def on_epoch(self, run: Run, epoch: int) -> None:
        del epoch
        if self._order.prompts:
            answer(run, self._order.prompts, max_new_tokens=self._order.max_new_tokens)
        self._checkpoint(run)

    def _checkpoint(self, run: Run) -> None:
        gather(run)
        self._saved_step = run.position.step

    def between_steps(self, run: Run) -> None:
        due, stop = agreed(run, due=False, stop=self.stop_asked)
        if (due or stop) and self._saved_step != run.position.step:
            self._checkpoint(run)
        if stop:
            raise Interrupted


def agreed(run: Run, *, due: bool, stop: bool) -> tuple[bool, bool]:
    """Whether a checkpoint is due and whether to stop, by what any rank says; all ranks ask after the same step."""
    due_ranks, stop_ranks = run.ranks.sum([float(due), float(stop)])
    return due_ranks > 0, stop_ranks > 0


def train_member(work: MemberWork, ranks: Ranks) -> None:
    """Train along with the first rank.

    Raises:
        Interrupted: some rank was told to stop; the first one has written a checkpoint.
        JobError, RuntimeError: as the first rank's training; RuntimeError when another rank is gone.
    """
    order = work.order
    run = fresh_run(work.base_dir, order.plan, ranks, threads=work.threads)
    member = _Member(order)
    signal.signal(signal.SIGTERM, member.ask_stop)
    examples = share_examples(ranks, ())
    restore_files(run, None)
    watchers = Watchers(
        on_metrics=lambda metrics: None, on_epoch=member.on_epoch, between_steps=member.between_steps
    )
    train(
        run,
        examples,
        loss=build_loss(order.loss, device=run.loaded.device),
        plan=order.plan,
        watchers=watchers,
    )
    save_run(run, order.plan, work.base_dir, work.base_dir)
