"""A loss of this package in place of the one of a transformers Trainer, or of TRL's SFTTrainer.

Trainer hands a loss function the model's outputs, the labels and their number, but not where in the run it
is. The object here is the loss function and a callback at once: the callback tells the loss its position
before every optimizer step, and writes the effective gradient weight into Trainer's logs.

Covers gradient accumulation, data parallelism (also FSDP), resuming, peft, mixtures of experts and soft-capped
logits (these models cap their logits themselves, before the loss sees them). Does not cover context,
sequence and pipeline parallelism.
"""

from typing import Any
from typing import Literal
from typing import Protocol
from typing import Self

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from training.integrations.decoder_inputs import DecoderInputsGuard
from training.integrations.errors import IntegrationError
from training.integrations.errors import NotAttached
from training.integrations.errors import UnsupportedModel
from training.integrations.fused_sft import fuse
from training.integrations.fused_sft import takes_fused_loss
from training.integrations.head import Head
from training.integrations.head import head_of
from training.integrations.head import rows_of
from training.integrations.router import balancing_loss
from training.integrations.settings import check_settings
from training.losses import GradientMeter
from training.losses import cross_entropy
from training.losses import gradient_weight
from training.losses.supervised import Reduction

EvalLoss = Literal["training", "cross_entropy"]


class LossFunction(Protocol):
    """Any function of :mod:`training.losses` over logits, its hyperparameters filled in."""

    def __call__(
        self,
        logits_RV: torch.Tensor,  # noqa: N803
        targets_R: torch.Tensor,  # noqa: N803
        /,
        *,
        num_items_in_batch: int | torch.Tensor | None,
        meter: GradientMeter | None,
    ) -> torch.Tensor:
        """[R, V] logits and [R] targets to the sum over the rows, over ``num_items_in_batch`` or the rows' number."""
        ...


class FusedLossFunction(Protocol):
    """Any function of :mod:`training.losses` over hidden states and a head, its hyperparameters filled in."""

    def __call__(
        self,
        hidden_RH: torch.Tensor,  # noqa: N803
        weight_VH: torch.Tensor,  # noqa: N803
        targets_R: torch.Tensor,  # noqa: N803
        bias_V: torch.Tensor | None,  # noqa: N803
        /,
        *,
        reduction: Reduction,
        softcap: float | None,
        meter: GradientMeter | None,
    ) -> torch.Tensor:
        """[R, H] hidden states, [V, H] weight, [R] targets and [V] bias to the loss."""
        ...


class LossForTrainer(TrainerCallback):  # type: ignore[misc]
    """A loss function that trains in a Trainer: make the trainer as ever, then :meth:`attach`.

    Args:
        function: the loss.
        fused: the same loss fused with the head, for trainers that never hold the logits; without it they are
            made to.
        head: how the model's logits lie; found from the model where not given.
        eval_loss: what evaluations report as ``eval_loss``: the loss that is being trained, at the run's
            position, or plain ``cross_entropy``, which can be compared between epochs and runs.
    """

    def __init__(
        self,
        function: LossFunction,
        *,
        fused: FusedLossFunction | None = None,
        head: Head | None = None,
        eval_loss: EvalLoss = "training",
    ) -> None:
        if eval_loss not in {"training", "cross_entropy"}:
            raise ValueError(f"eval_loss={eval_loss!r} must be 'training' or 'cross_entropy'")
        self._function = function
        self._fused = fused
        self._eval_loss = eval_loss
        self._head = head
        self._meter = GradientMeter()
        self._trainer: Any = None
        self._guard = DecoderInputsGuard()
        self._epoch = 0
        self._in_step = False

    def attach(self, trainer: Any) -> Self:
        """Make this the loss of a Trainer or SFTTrainer that was just made.

        Raises:
            UnsupportedModel: the model's labels are not one class a row.
            UnsupportedSetting: a setting of the trainer would be ignored or change the loss.
            IntegrationError: either is attached already.
        """
        if self._trainer is not None:
            raise IntegrationError("this loss is attached already: make another one for another trainer")
        if trainer.compute_loss_func not in {None, self}:
            raise IntegrationError("the trainer has a compute_loss_func already")
        check_settings(trainer)
        self._head = self._head or head_of(trainer.model)
        self._trainer = trainer
        if self._fused is not None and self._head is Head.NEXT_TOKEN and takes_fused_loss(trainer):
            fuse(trainer.model, self._fused_total)
        else:
            trainer.compute_loss_func = self
        callbacks = trainer.callback_handler.callbacks
        if self not in callbacks:
            # First, so that whatever reports the logs does so after on_log has added to them.
            callbacks.insert(0, self)
        return self

    def move(self, *, epoch: int, step: int, total_steps: int) -> None:
        """Told before every optimizer step, all counted from 1. A loss that changes with the run overrides this."""

    def __call__(
        self, outputs: Any, labels: torch.Tensor | None, num_items_in_batch: int | torch.Tensor | None = None
    ) -> torch.Tensor:
        """Trainer's ``compute_loss_func``.

        Args:
            outputs: of the model, with its logits.
            labels: as the data collator made them; not shifted.
            num_items_in_batch: labels in all micro-batches of the optimizer step, of all processes if
                ``average_tokens_across_devices``; Trainer multiplies the loss by their number afterwards.

        Raises:
            NotAttached: the position in the run is not known.
            UnsupportedModel: no labels, or labels that do not fit the logits.
        """
        training = self._is_training()
        if self._trainer is None or self._head is None:
            raise NotAttached
        if labels is None:
            raise UnsupportedModel("the batch has no labels")
        if isinstance(num_items_in_batch, torch.Tensor):
            # nn.DataParallel gets one entry a GPU, the number each, for losses formed GPU by GPU and averaged. Here
            # one loss stands for all of them, and their sum is what makes it count as much.
            num_items_in_batch = num_items_in_batch.sum()
        logits, targets = rows_of(self._head, _logits(outputs), labels)
        function = self._function if training or self._eval_loss == "training" else cross_entropy
        loss = function(
            logits, targets, num_items_in_batch=num_items_in_batch, meter=self._meter if training else None
        )
        if training:
            balance = balancing_loss(outputs, self._trainer, normalised=num_items_in_batch is not None)
            loss = loss if balance is None else loss + balance.to(loss)
        return loss

    def _is_training(self) -> bool:
        """Evaluations run without gradients.

        Raises:
            NotAttached: a trainer trains that does not say where it is.
        """
        training = torch.is_grad_enabled()
        if training and not self._in_step:
            raise NotAttached
        return training

    def _fused_total(
        self,
        hidden_RH: torch.Tensor,  # noqa: N803
        weight_VH: torch.Tensor,  # noqa: N803
        targets_R: torch.Tensor,  # noqa: N803
        bias_V: torch.Tensor | None,  # noqa: N803
        /,
        *,
        softcap: float | None,
    ) -> torch.Tensor | None:
        training = self._is_training()
        if self._fused is None or not (training or self._eval_loss == "training"):
            return None
        meter = self._meter if training else None
        return self._fused(
            hidden_RH, weight_VH, targets_R, bias_V, reduction="sum", softcap=softcap, meter=meter
        )

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first step, also of a resumed run: an evaluation that comes first is at its position."""
        del args, control
        self._in_step = False
        self._meter = GradientMeter()
        self._guard.watch(kwargs["model"])
        # The number of epochs done, whole only between them; on_epoch_begin comes once more for the running one.
        self._epoch = min(int(state.epoch), state.num_train_epochs - 1)
        self._move(state, epoch=self._epoch + 1)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Counts, for a callback may have ended the last epoch early: then ``state.epoch`` is behind."""
        del args, state, control, kwargs
        self._epoch += 1

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first micro-batch of an optimizer step."""
        del args, control, kwargs
        self._move(state, epoch=self._epoch)
        self._in_step = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the weights have moved."""
        del args, state, control, kwargs
        self._in_step = False

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The model is its user's again."""
        del args, state, control, kwargs
        self._guard.leave()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Adds ``gradient_weight`` to the training loss's logs, over the steps since the last; Trainer waits here too."""
        del control, kwargs
        # Trainer's own entry, which every process writes; others may be written by one process alone.
        if logs is None or not {"loss", "learning_rate"} <= logs.keys():
            return
        sums = _summed(self._meter.sums(), args.device)
        self._meter = GradientMeter()
        logs["gradient_weight"] = gradient_weight(*sums)
        # Trainer has copied the logs there before it asked its callbacks.
        state.log_history[-1]["gradient_weight"] = logs["gradient_weight"]

    def _move(self, state: Any, *, epoch: int) -> None:
        step = min(state.global_step + 1, state.max_steps)
        self.move(epoch=epoch, step=step, total_steps=state.max_steps)


def _logits(outputs: Any) -> torch.Tensor:
    logits = outputs[0] if isinstance(outputs, tuple) else getattr(outputs, "logits", None)
    if not isinstance(logits, torch.Tensor):
        raise UnsupportedModel(f"{type(outputs).__name__} has no logits")
    return logits


def _summed(values: tuple[float, float], device: torch.device) -> tuple[float, float]:
    """Over all processes."""
    if not (dist.is_available() and dist.is_initialized()):
        return values
    totals = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(totals)
    return totals[0].item(), totals[1].item()
