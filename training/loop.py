"""The training loop, to be read from top to bottom.

One optimizer step: a batch of rows, the loss over their supervised tokens, the gradient's norm
clipped, AdamW. The order of rows, the weights and the random numbers depend on the plan's seed alone,
so a run on a CPU with a fixed number of threads is bit-identical, and so is one that was cut and resumed.
"""

import math
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

import torch

from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import TrainingPlan
from training.data.batch import Batch
from training.data.batch import decoder_batch
from training.data.batch import encoder_decoder_batch
from training.data.batch import epoch_batches
from training.data.example import Example
from training.errors import InvalidInput
from training.losses import TokenLoss
from training.model import LoadedModel
from training.model import SupervisedHead

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
    optimizer: torch.optim.AdamW
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchers:
    """Whom the loop tells what. All are called between optimizer steps."""

    on_metrics: Callable[[StepMetrics], None]
    on_epoch: Callable[[Run, int], None]
    """After every epoch, with its number."""
    between_steps: Callable[[Run], None] = lambda run: None
    """After every step: may write a checkpoint, may raise to stop."""


def start_run(loaded: LoadedModel, plan: TrainingPlan) -> Run:
    """A run at its beginning. Norms and biases are not decayed, as is usual for AdamW."""
    weights = [weight for weight in loaded.model.parameters() if weight.requires_grad]
    groups = [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True)
    return Run(loaded=loaded, optimizer=optimizer, position=Position())


def learning_rate_at(step: int, *, total_steps: int, plan: TrainingPlan) -> float:
    """Linear warm-up over ``warmup_ratio`` of the steps, then linear decay to zero. ``step`` counts from 0."""
    warmup = max(1, round(plan.warmup_ratio * total_steps))
    if step < warmup:
        return plan.learning_rate * (step + 1) / warmup
    return plan.learning_rate * (total_steps - step) / max(1, total_steps - warmup)


def steps_per_epoch(examples: Sequence[Example], plan: TrainingPlan) -> int:
    """Optimizer steps of one epoch."""
    return math.ceil(len(examples) / plan.batch_size)


def _to_batch(loaded: LoadedModel, examples: Sequence[Example]) -> Batch:
    if loaded.architecture == "decoder":
        batch = decoder_batch(examples, pad_id=loaded.pad_id)
    else:
        batch = encoder_decoder_batch(examples, pad_id=loaded.pad_id, start_id=loaded.start_id)
    if loaded.device.type == "cpu":
        return batch
    inputs = batch.decoder_input_ids
    return Batch(
        input_ids=batch.input_ids.to(loaded.device),
        attention_mask=batch.attention_mask.to(loaded.device),
        labels=batch.labels.to(loaded.device),
        decoder_input_ids=None if inputs is None else inputs.to(loaded.device),
    )


def _optimize(
    run: Run,
    head: SupervisedHead,
    examples: Sequence[Example],
    *,
    loss: TokenLoss,
    epoch: int,
    plan: TrainingPlan,
) -> tuple[float, float, int]:
    """One step. Returns the loss, the gradient's norm before clipping, and the supervised tokens."""
    logits_NV, targets_N = head(_to_batch(run.loaded, examples))  # noqa: N806
    value = loss(logits_NV, targets_N, epoch=epoch)
    value.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(run.loaded.model.parameters(), plan.max_grad_norm)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return value.item(), norm.item(), targets_N.numel()


def train(
    run: Run, examples: Sequence[Example], *, loss: TokenLoss, plan: TrainingPlan, watchers: Watchers
) -> None:
    """Train from the run's position to the end of the plan's last epoch.

    Raises:
        InvalidInput: the loss or the gradient is not finite (diverged).
    """
    run.loaded.model.train()
    head = SupervisedHead(run.loaded)
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
            value, norm, supervised = _optimize(run, head, batch, loss=loss, epoch=epoch, plan=plan)
            position.step += 1
            if not (math.isfinite(value) and math.isfinite(norm)):
                raise InvalidInput(
                    ExitCode.DIVERGED,
                    "diverged",
                    f"loss {value} and gradient norm {norm} at step {position.step} (epoch {epoch}): "
                    f"lower the learning rate, now {rate:g}",
                    param="method",
                )
            position.supervised_tokens += supervised
            position.loss_sum += value * supervised
            position.loss_tokens += supervised
            if position.step == epoch * per_epoch:
                position.epoch_losses.append(position.loss_sum / position.loss_tokens)
                position.loss_sum, position.loss_tokens = 0.0, 0
            metrics = meter.count(batch, epoch=epoch, step=position.step, loss=value, rate=rate, norm=norm)
            if metrics is not None:
                watchers.on_metrics(metrics)
            if position.step == epoch * per_epoch:
                watchers.on_epoch(run, epoch)
                run.loaded.model.train()
            watchers.between_steps(run)


class _Meter:
    """Averages over the steps since the last report."""

    def __init__(self, *, total_steps: int, first_step: int) -> None:
        self._total_steps = total_steps
        self._first_step = first_step
        self._started = self._reported = time.monotonic()
        self._loss = 0.0
        self._steps = 0
        self._tokens = 0

    def count(
        self, batch: Sequence[Example], *, epoch: int, step: int, loss: float, rate: float, norm: float
    ) -> StepMetrics | None:
        self._loss += loss
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
            grad_norm=norm,
            tokens_per_second=self._tokens / max(now - self._reported, 1e-9),
            eta_s=(now - self._started) / (step - self._first_step) * (self._total_steps - step),
        )
        self._reported, self._loss, self._steps, self._tokens = now, 0.0, 0, 0
        return metrics
