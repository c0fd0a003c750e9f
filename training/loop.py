"""The training loop, to be read from top to bottom.

One optimizer step: a batch of rows, in parts that fit the memory; the loss over their supervised tokens, the
gradient's norm clipped, AdamW. The order of rows, the weights and the random numbers depend on the plan's
seed alone, so a run on a CPU with a fixed number of threads is bit-identical, and so is one that was cut
and resumed. The loss depends on the position alone (:class:`training.losses.ScheduledLoss`).
"""

import json
import math
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field

import torch
from torch import nn

from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import TrainingPlan
from training.data.batch import epoch_batches
from training.data.batch import micro_batches
from training.data.example import Example
from training.errors import InvalidInput
from training.losses import GradientMeter
from training.losses import RowLoss
from training.losses import ScheduledLoss
from training.losses import gradient_weight
from training.model import LoadedModel
from training.model import plain_model
from training.parallel import Alone
from training.parallel import Ranks
from training.supervised_model import Layout
from training.supervised_model import SupervisedModel

REPORT_EVERY_S = 1.0
REPORTS_PER_AGE = 200
"""A long run reports less often: about this many reports each time its age grows by a factor of e."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMetrics:
    """What is reported about once a second, less often in a long run. ``loss`` and the rates cover the steps since the last report."""

    epoch: int
    step: int
    total_steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    gradient_weight: float
    """Effective gradient weight: what the loss lets through of cross-entropy's pull on the targets, 1 for
    cross-entropy itself. DeCE's falls with the epoch, so its loss flattens before the model has converged."""
    tokens_per_second: float
    """Tokens of prompt and completion, padding not counted."""
    eta_s: float
    """Until the last step, at the average speed so far."""


@dataclass(slots=True, kw_only=True)
class Position:
    """How far a run is. ``step`` counts finished optimizer steps over all epochs."""

    step: int = 0
    supervised_tokens: int = 0
    epoch_losses: list[float] = field(default_factory=list)
    """Mean loss per supervised token of every finished epoch."""
    loss_sum: float = 0.0
    """Of the epoch under way, weighted by tokens."""
    loss_tokens: int = 0


@dataclass(slots=True, kw_only=True)
class Run:
    """A model under training with everything a checkpoint must hold."""

    loaded: LoadedModel
    supervised: SupervisedModel
    wrapped: torch.nn.Module
    """The supervised model as the processes share it; itself when there is one."""
    optimizer: torch.optim.AdamW
    position: Position
    ranks: Ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchers:
    """Whom the loop tells what. All are called between optimizer steps."""

    on_metrics: Callable[[StepMetrics], None]
    on_epoch: Callable[[Run, int], None]
    """After every epoch, with its number."""
    between_steps: Callable[[Run], None] = lambda run: None
    """After every step: may write a checkpoint, may raise to stop."""


def start_run(
    loaded: LoadedModel, plan: TrainingPlan, ranks: Ranks | None = None, source: LoadedModel | None = None
) -> Run:
    """A run at its beginning. Norms and biases are not decayed, as is usual for AdamW.

    With several ``ranks`` every process calls this with the same model, or with the same model without weights;
    then the first one has them in ``source``, on the CPU.
    """
    together = ranks or Alone()
    layout = _common_layout(source or loaded, plan, together)
    if plan.gradient_checkpointing:
        plain_model(loaded.model).gradient_checkpointing_enable({"use_reentrant": False})
    supervised = SupervisedModel(loaded, precision=plan.precision, layout=layout)
    # Before the optimizer: sharding replaces the parameters.
    wrapped = together.wrap(supervised, None if source is None else nn.ModuleDict({"model": source.model}))
    weights = [weight for weight in loaded.model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    return Run(
        loaded=loaded,
        supervised=supervised,
        wrapped=wrapped,
        optimizer=torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True),
        position=Position(),
        ranks=together,
    )


def _common_layout(loaded: LoadedModel, plan: TrainingPlan, ranks: Ranks) -> Layout:
    """How the first process finds that the model runs: processes that cut a batch otherwise would wait for ever."""
    found: Layout | None = None
    if ranks.rank == 0:
        found = SupervisedModel(loaded, precision=plan.precision).layout
    told = ranks.tell(b"" if found is None else json.dumps(asdict(found)).encode())
    return found or Layout(**json.loads(told))


def learning_rate_at(step: int, *, total_steps: int, plan: TrainingPlan) -> float:
    """Linear warm-up over ``warmup_ratio`` of the steps, then linear decay to zero. ``step`` counts from 0."""
    warmup = max(1, round(plan.warmup_ratio * total_steps))
    if step < warmup:
        return plan.learning_rate * (step + 1) / warmup
    return plan.learning_rate * (total_steps - step) / max(1, total_steps - warmup)


def steps_per_epoch(examples: Sequence[Example], plan: TrainingPlan) -> int:
    """Optimizer steps of one epoch."""
    return math.ceil(len(examples) / plan.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What one optimizer step came to, over all processes."""

    loss: float
    grad_norm: float
    gradient_weight: float
    supervised_tokens: int


def _parts(run: Run, examples: Sequence[Example], max_tokens: int) -> list[Sequence[Example]]:
    """This process's share of a batch, in parts that are worked on at a time; as many as any process has."""
    packed = run.supervised.layout.packed
    shares = [
        micro_batches(share, max_tokens=max_tokens, packed=packed) for share in run.ranks.shares(examples)
    ]
    most = max(map(len, shares))
    return [*shares[run.ranks.rank], *([()] * most)][:most]


def _optimize(run: Run, examples: Sequence[Example], row: RowLoss, plan: TrainingPlan) -> _Step:
    """One optimizer step over a batch."""
    ranks = run.ranks
    supervised = sum(len(example.completion_ids) for example in examples)
    meter = GradientMeter()
    total = 0.0
    parts = _parts(run, examples, plan.micro_batch_tokens)
    for at, part in enumerate(parts):
        with ranks.gradients_kept(run.wrapped, last=at == len(parts) - 1), run.supervised.running():
            value = run.wrapped(part or examples[:1], row, supervised, meter, silent=not part)
            # The processes' gradients are averaged, but the loss is a sum over all of them.
            (value * ranks.world).backward()
        total += value.item()
    norm = ranks.clip(run.wrapped.parameters(), plan.max_grad_norm)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    loss, pull, plain = ranks.sum([total, *meter.sums()])
    return _Step(
        loss=loss,
        grad_norm=norm,
        gradient_weight=gradient_weight(pull, plain),
        supervised_tokens=supervised,
    )


def train(
    run: Run,
    examples: Sequence[Example],
    *,
    loss: ScheduledLoss,
    plan: TrainingPlan,
    watchers: Watchers,
) -> None:
    """Train from the run's position to the end of the plan's last epoch.

    With several processes each calls this with the same rows and takes its share of every batch.

    Raises:
        InvalidInput: the loss or the gradient is not finite (diverged).
    """
    run.loaded.model.train()
    per_epoch = steps_per_epoch(examples, plan)
    total_steps = per_epoch * plan.n_epochs
    position = run.position
    meter = _Meter(total_steps=total_steps, first_step=position.step)
    for epoch in range(position.step // per_epoch + 1, plan.n_epochs + 1):
        batches = epoch_batches(examples, batch_size=plan.batch_size, seed=plan.seed, epoch=epoch)
        for batch in batches[position.step - (epoch - 1) * per_epoch :]:
            rate = learning_rate_at(position.step, total_steps=total_steps, plan=plan)
            for group in run.optimizer.param_groups:
                group["lr"] = rate
            # Dropout's numbers depend on the step, not on what was drawn before: a resume needs no state.
            torch.manual_seed(plan.seed * 1_000_003 + position.step)
            row = loss.at(epoch=epoch, step=position.step + 1, total_steps=total_steps)
            done = _optimize(run, batch, row, plan)
            position.step += 1
            _check_finite(done, epoch=epoch, step=position.step, rate=rate)
            _account(position, done, ends_epoch=position.step == epoch * per_epoch)
            metrics = meter.count(batch, done, epoch=epoch, step=position.step, rate=rate)
            if metrics is not None:
                watchers.on_metrics(metrics)
            if position.step == epoch * per_epoch:
                watchers.on_epoch(run, epoch)
                run.loaded.model.train()
            watchers.between_steps(run)


def _check_finite(done: _Step, *, epoch: int, step: int, rate: float) -> None:
    if not (math.isfinite(done.loss) and math.isfinite(done.grad_norm)):
        raise InvalidInput(
            ExitCode.DIVERGED,
            "diverged",
            f"loss {done.loss} and gradient norm {done.grad_norm} at step {step} (epoch {epoch}): "
            f"lower the learning rate, now {rate:g}",
            param="method",
        )


def _account(position: Position, done: _Step, *, ends_epoch: bool) -> None:
    position.supervised_tokens += done.supervised_tokens
    position.loss_sum += done.loss * done.supervised_tokens
    position.loss_tokens += done.supervised_tokens
    if ends_epoch:
        position.epoch_losses.append(position.loss_sum / position.loss_tokens)
        position.loss_sum, position.loss_tokens = 0.0, 0


class _Meter:
    """Averages over the steps since the last report."""

    def __init__(self, *, total_steps: int, first_step: int) -> None:
        self._total_steps = total_steps
        self._first_step = first_step
        self._started = self._reported = time.monotonic()
        self._loss = 0.0
        self._weight = 0.0
        self._steps = 0
        self._tokens = 0

    def count(
        self, batch: Sequence[Example], done: _Step, *, epoch: int, step: int, rate: float
    ) -> StepMetrics | None:
        self._loss += done.loss
        self._weight += done.gradient_weight
        self._steps += 1
        self._tokens += sum(example.tokens for example in batch)
        now = time.monotonic()
        pause = max(REPORT_EVERY_S, (now - self._started) / REPORTS_PER_AGE)
        if now - self._reported < pause and step != self._total_steps:
            return None
        metrics = StepMetrics(
            epoch=epoch,
            step=step,
            total_steps=self._total_steps,
            loss=self._loss / self._steps,
            learning_rate=rate,
            grad_norm=done.grad_norm,
            gradient_weight=self._weight / self._steps,
            tokens_per_second=self._tokens / max(now - self._reported, 1e-9),
            eta_s=(now - self._started) / (step - self._first_step) * (self._total_steps - step),
        )
        self._reported, self._steps, self._tokens = now, 0, 0
        self._loss = self._weight = 0.0
        return metrics
