"""DeCE in a Trainer."""

from typing import Any

from training.integrations.head import Head
from training.integrations.loss_for_trainer import EvalLoss
from training.integrations.loss_for_trainer import LossForTrainer
from training.integrations.settings import check_length
from training.integrations.settings import warn_about_selection
from training.losses import DeceLoss
from training.losses import LinearDeceLoss
from training.losses.backend import Backend
from training.losses.dece import Mode
from training.losses.dece import Spread
from training.losses.schedule import PAPER_EPOCHS
from training.losses.schedule import Schedule


class DeceForTrainer(LossForTrainer):
    """Deceptive Cross-Entropy in a transformers Trainer or TRL's SFTTrainer.

        trainer = Trainer(...)
        DeceForTrainer(alpha_base=0.99, label_smoothing=0.05).attach(trainer)
        trainer.train()

    Args:
        alpha_base: base of the blending weight, ``alpha_base ** epoch``; the paper recommends 0.985 to 0.995.
        label_smoothing: the paper's epsilon, 0.05 to 0.1.
        mode: ``exact``, or ``parity`` with the released artifact's clamp.
        spread: where the smoothed mass goes; see :func:`training.losses.dece`.
        schedule: ``epoch`` as published, or ``step``: the exponents of ``span`` epochs spread evenly over
            the optimizer steps, for runs of few epochs and for datasets without a length.
        span: epochs that schedule ``step`` stands for.
        backend: which kernel computes the rows.
        head: how the model's logits lie; found from the model where not given.
        eval_loss: what evaluations report as ``eval_loss``: DeCE at the position that the run has reached
            (``training``), which falls with the schedule too, or ``cross_entropy``, which does not.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self,
        *,
        alpha_base: float = 0.99,
        label_smoothing: float = 0.05,
        mode: Mode = "exact",
        spread: Spread = "others",
        schedule: Schedule = "epoch",
        span: float = PAPER_EPOCHS,
        backend: Backend = "auto",
        head: Head | None = None,
        eval_loss: EvalLoss = "training",
    ) -> None:
        chosen: dict[str, Any] = {
            "alpha_base": alpha_base,
            "label_smoothing": label_smoothing,
            "mode": mode,
            "spread": spread,
            "schedule": schedule,
            "span": span,
            "backend": backend,
        }
        self._over_logits = DeceLoss(**chosen)
        self._over_hidden = LinearDeceLoss(**chosen)
        super().__init__(self._over_logits, fused=self._over_hidden, head=head, eval_loss=eval_loss)

    @property
    def alpha(self) -> float:
        """The blending weight in force."""
        return self._over_logits.alpha

    def move(self, *, epoch: int, step: int, total_steps: int) -> None:
        """Told before every optimizer step."""
        for loss in (self._over_logits, self._over_hidden):
            loss.at(epoch=epoch, step=step, total_steps=total_steps)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first step.

        Raises:
            UnsupportedSetting: a schedule over epochs, and a dataset without a length.
        """
        if self._over_logits.schedule.kind == "epoch":
            check_length(state)
        if self._eval_loss == "training":
            warn_about_selection(args)
        super().on_train_begin(args, state, control, **kwargs)
