"""Settings of a trainer that would be ignored, or would change the loss silently: refused before the run."""

import logging
import sys
from typing import Any

from training.integrations.errors import UnsupportedSetting

_log = logging.getLogger(__name__)


def check_settings(trainer: Any) -> None:
    """Refuse what would make the trained loss another than the one that was asked for.

    Raises:
        UnsupportedSetting: such a setting; the message names it.
    """
    args = trainer.args
    if args.label_smoothing_factor != 0.0:
        raise UnsupportedSetting(
            "label_smoothing_factor would be ignored: give label_smoothing to the loss instead"
        )
    if getattr(args, "loss_type", "nll") != "nll":
        raise UnsupportedSetting(f"loss_type={args.loss_type!r} is another loss: leave it out")
    liger = args.liger_kernel_config or {}
    if args.use_liger_kernel and liger.get("fused_linear_cross_entropy", True):
        raise UnsupportedSetting(
            "use_liger_kernel brings a fused cross-entropy that leaves no logits: "
            'set liger_kernel_config={"fused_linear_cross_entropy": False}'
        )
    parallel = trainer.accelerator.parallelism_config
    if parallel is not None and (parallel.cp_enabled or parallel.sp_enabled):
        raise UnsupportedSetting(
            "context and sequence parallelism cut rows apart before the labels are shifted"
        )


def check_length(state: Any) -> None:
    """Refuse a schedule over epochs where the trainer cannot tell them.

    Raises:
        UnsupportedSetting: the training set has no length.
    """
    # What Trainer writes there for a dataset without a length: as many epochs as it takes.
    if state.num_train_epochs >= sys.maxsize:
        raise UnsupportedSetting(
            "the training set has no length, so there are no epochs to schedule over: use schedule='step'"
        )


def warn_about_selection(args: Any) -> None:
    """Say that losses of different epochs are not comparable, where the trainer is told to compare them."""
    if args.load_best_model_at_end and args.metric_for_best_model in {None, "loss", "eval_loss"}:
        _log.warning(
            "the best model is chosen by eval_loss, which falls as DeCE's schedule advances whatever the model does: "
            "give the loss eval_loss='cross_entropy', or name another metric_for_best_model"
        )
