"""The load-balancing loss of mixture-of-experts models, which a model adds to its own loss only."""

from typing import Any

import torch

from training.model import plain_model


def balancing_loss(outputs: Any, trainer: Any, *, normalised: bool) -> torch.Tensor | None:
    """What one micro-batch adds to an optimizer step's loss; None where the model was not asked for it.

    A mean over the micro-batches and processes of the step, as TRL has it.

    Args:
        outputs: of the model, in training.
        trainer: that called the model.
        normalised: whether the trainer will multiply the loss by the number of processes, as it does when it
            has counted the labels of all of them.
    """
    loss = getattr(outputs, "aux_loss", None)
    weight = getattr(plain_model(trainer.model).config.get_text_config(), "router_aux_loss_coef", 0.0)
    if loss is None or not weight:
        return None
    parts = trainer.current_gradient_accumulation_steps
    if normalised and trainer.args.average_tokens_across_devices:
        gpus = trainer.args.n_gpu
        parts *= gpus if gpus > 1 else trainer.accelerator.num_processes // trainer.get_tp_size()
    balance: torch.Tensor = weight * loss.mean() / parts
    return balance
