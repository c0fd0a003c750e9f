"""Our training loop and the artifact's, step by step on the same batches: what each step took and came to."""

import copy
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from benchmarks.artifact_loop import ArtifactLoop
from deploy.contract.method import DeceLoss
from deploy.contract.spec import TrainingPlan
from training.data.batch import epoch_batches
from training.data.example import Example
from training.loop import Run
from training.loop import StepMetrics
from training.loop import Watchers
from training.loop import learning_rate_at
from training.loop import start_run
from training.loop import train
from training.losses import blending_weight
from training.losses import build_loss
from training.model import LoadedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One optimizer step in both loops."""

    tokens: int
    """Of prompts and completions; padding is none."""
    ours_s: float
    theirs_s: float
    """CPU seconds."""
    elapsed_s: float
    """Of both together."""
    ours_loss: float
    theirs_loss: float


@dataclass(slots=True, kw_only=True)
class _Lockstep:
    """Called by our loop after each of its steps: has the artifact's loop do the same one."""

    theirs: ArtifactLoop
    batches: Sequence[Sequence[Example]]
    plan: TrainingPlan
    alpha: float
    tick: Callable[[str], None]
    pairs: list[Pair] = field(default_factory=list)
    _weighted_losses: float = 0.0
    _started: tuple[float, float] = (0.0, 0.0)

    def start(self) -> None:
        """Our next step begins."""
        self._started = time.process_time(), time.perf_counter()

    def __call__(self, run: Run) -> None:
        ours_s = time.process_time() - self._started[0]
        step = run.position.step
        batch = self.batches[step - 1]
        loss = self._our_loss(run, batch)
        began = time.process_time()
        theirs_loss = self.theirs.step(
            batch,
            alpha=self.alpha,
            learning_rate=learning_rate_at(step - 1, total_steps=len(self.batches), plan=self.plan),
        )
        self.pairs.append(
            Pair(
                tokens=sum(example.tokens for example in batch),
                ours_s=ours_s,
                theirs_s=time.process_time() - began,
                elapsed_s=time.perf_counter() - self._started[1],
                ours_loss=loss,
                theirs_loss=theirs_loss,
            )
        )
        self.tick(f"step {step}")
        self.start()

    def _our_loss(self, run: Run, batch: Sequence[Example]) -> float:
        """Of the last step, from the sums that the loop keeps; it turns them into a mean when the epoch ends."""
        position = run.position
        ended = position.epoch_losses[-1] * position.supervised_tokens if position.epoch_losses else None
        weighted = position.loss_sum if ended is None else ended
        supervised = sum(len(example.completion_ids) for example in batch)
        loss = (weighted - self._weighted_losses) / supervised
        self._weighted_losses = weighted
        return loss


def run_lockstep(
    loaded: LoadedModel,
    examples: Sequence[Example],
    plan: TrainingPlan,
    loss: DeceLoss,
    *,
    tick: Callable[[str], None],
) -> list[Pair]:
    """Train two copies of a model for one epoch, ours by :func:`training.loop.train`.

    Raises:
        ValueError: the plan has more than one epoch, or clips, which the artifact does not.
    """
    if plan.n_epochs != 1:
        raise ValueError(f"{plan.n_epochs} epochs: a comparison is of one")
    theirs = copy.deepcopy(loaded)
    run = start_run(loaded, plan)
    lockstep = _Lockstep(
        theirs=ArtifactLoop(theirs, plan, label_smoothing=loss.label_smoothing),
        batches=epoch_batches(examples, batch_size=plan.batch_size, seed=plan.seed, epoch=1),
        plan=plan,
        alpha=blending_weight(loss.alpha_base, 1),
        tick=tick,
    )
    watchers = Watchers(on_metrics=_ignore, on_epoch=lambda run, epoch: None, between_steps=lockstep)
    lockstep.start()
    train(run, examples, loss=build_loss(loss, device=loaded.device), plan=plan, watchers=watchers)
    return lockstep.pairs


def _ignore(metrics: StepMetrics) -> None:
    """Nobody reads the loop's own reports here."""
