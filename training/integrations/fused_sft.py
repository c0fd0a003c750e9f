"""A loss inside TRL's fused head: SFTTrainer never holds the logits of a batch, and neither need ours.

TRL's SFTTrainer calls ``model(..., labels=..., fused_lm_head=True)``, which projects the hidden states piece by
piece, and makes its loss of the sum of ``-log_probs``; a ``compute_loss_func`` it can only serve with the full
logits of a second forward. So ours goes where its log-probabilities come from: inside the model's forward,
where DDP, FSDP and ZeRO-3 expect the head's weight to be used. Everything after it stays TRL's: the division by
the labels of the batch, the balancing loss of a mixture of experts, entropy and accuracy.
"""

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any
from typing import Protocol

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from training.integrations.head import Head
from training.integrations.head import shifted
from training.model import plain_model

SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
"""What architectures call a factor of their logits. Ours knows none; they take the way over the full logits."""


class HiddenLoss(Protocol):
    """Sum of the losses of hidden states under a head, or None to leave TRL's cross-entropy as it is."""

    def __call__(
        self,
        hidden_RH: torch.Tensor,  # noqa: N803
        weight_VH: torch.Tensor,  # noqa: N803
        targets_R: torch.Tensor,  # noqa: N803
        bias_V: torch.Tensor | None,  # noqa: N803
        /,
        *,
        softcap: float | None,
    ) -> torch.Tensor | None:
        """[R, H] hidden states, [V, H] weight, [R] targets and [V] bias to a scalar."""
        ...


def takes_fused_loss(trainer: Any) -> bool:
    """Whether the trainer is TRL's SFTTrainer with a fused head that is nothing but its weight and bias."""
    trl = sys.modules.get("trl")
    if trl is None or not isinstance(trainer, trl.SFTTrainer) or trainer.args.torch_compile:
        return False
    if type(trainer).compute_loss is not trl.SFTTrainer.compute_loss:
        return False
    model = plain_model(trainer.model)
    config = model.config.get_text_config()
    scaled = any(getattr(config, name, None) not in {None, 1} for name in SCALES)
    return type(model.get_output_embeddings()) is nn.Linear and not scaled


def fuse(model: Any, loss: HiddenLoss) -> None:
    """Put the loss where TRL's fused head says its log-probabilities; the model's other forwards stay as they are."""
    inner = plain_model(model)
    original = inner.forward
    softcap = getattr(inner.config.get_text_config(), "final_logit_softcapping", None)

    # The class's signature: generate() looks at it.
    @functools.wraps(type(inner).forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("fused_lm_head"):
            return original(*args, **kwargs)
        with _hidden_states(self) as seen:
            outputs = original(*args, **kwargs)
        total = _total(self.get_output_embeddings(), seen[-1], kwargs["labels"], loss, softcap)
        if total is not None:
            # TRL only sums them up: which row lost what does not matter.
            outputs.log_probs = (-total / outputs.log_probs.numel()).expand_as(outputs.log_probs)
            outputs.loss = None
        return outputs

    inner.forward = MethodType(forward, inner)


def _total(
    head: nn.Linear, hidden: torch.Tensor, labels: torch.Tensor, loss: HiddenLoss, softcap: float | None
) -> torch.Tensor | None:
    from trl.trainer.utils import maybe_gather_lm_head_ctx

    weight, bias = _whole(head.weight), _whole(head.bias)
    hidden = hidden.to(weight.device).flatten(0, 1)
    targets = shifted(labels.to(weight.device), Head.NEXT_TOKEN).reshape(-1)
    with maybe_gather_lm_head_ctx(weight, bias):
        return loss(hidden, weight, targets, bias, softcap=softcap)


def _whole(weight: Any) -> Any:
    """FSDP2 shards the head; the hidden states are whole."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


@contextmanager
def _hidden_states(model: Any) -> Iterator[list[torch.Tensor]]:
    """The last hidden states that the model's body gives meanwhile."""
    seen: list[torch.Tensor] = []
    hook = model.base_model.register_forward_hook(
        lambda _, __, outputs: seen.append(outputs.last_hidden_state)
    )
    try:
        yield seen
    finally:
        hook.remove()
