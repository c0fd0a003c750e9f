"""What a model's logits say and which label each of them answers to.

Covers causal and masked language models, encoder-decoders, token and sequence classification: one class
a row. Does not cover regression, several labels a row, spans or detection.
"""

from enum import StrEnum
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.loss.loss_utils import LOSS_MAPPING

from training.integrations.errors import UnsupportedModel
from training.losses.supervised import IGNORE_INDEX
from training.model import plain_model


class Head(StrEnum):
    """Which label belongs to which logits."""

    NEXT_TOKEN = "next_token"  # noqa: S105 - a token of text
    """[B, T, V], [B, T]: position t answers to label t + 1. Causal language models."""
    SAME_TOKEN = "same_token"  # noqa: S105 - a token of text
    """[B, T, V], [B, T]: position t answers to label t. Encoder-decoders, token classification, masked models."""
    SEQUENCE = "sequence"
    """[B, C], [B]: one label a sequence."""


_BY_LOSS = {
    "ForCausalLMLoss": Head.NEXT_TOKEN,
    "ForMaskedLMLoss": Head.SAME_TOKEN,
    "ForTokenClassification": Head.SAME_TOKEN,
    "ForSequenceClassificationLoss": Head.SEQUENCE,
}
# transformers tells a model's loss from its class's name, and these names do not tell; all of them shift.
_CAUSAL = frozenset(
    {
        "BertGenerationDecoder",
        "BertLMHeadModel",
        "CTRLLMHeadModel",
        "GPT2LMHeadModel",
        "OpenAIGPTLMHeadModel",
        "ReformerModelWithLMHead",
    }
)


def head_of(model: Any) -> Head:
    """The head of a transformers model, inside peft or not, from the loss that transformers would use itself.

    Raises:
        UnsupportedModel: its labels are not one class a row, or its class does not tell.
    """
    inner = plain_model(model)
    name, config = type(inner).__name__, getattr(inner, "config", None)
    loss = LOSS_MAPPING.get(getattr(inner, "loss_type", None))
    head = _BY_LOSS.get(loss.__name__) if loss is not None else None
    if head is Head.SEQUENCE:
        _check_classes(name, config)
        return head
    if getattr(config, "is_encoder_decoder", False) and (loss is None or head is not None):
        # Its decoder is fed the labels shifted right, so every position answers to its own.
        return Head.SAME_TOKEN
    if head is None and name in _CAUSAL:
        return Head.NEXT_TOKEN
    if head is None:
        known = ", ".join(f"Head.{one.name}" for one in Head)
        raise UnsupportedModel(
            f"{name}: its labels are not known to be one class a token or sequence. If they are, say how its "
            f"logits lie with head= one of {known}"
        )
    return head


def _check_classes(name: str, config: Any) -> None:
    problem = getattr(config, "problem_type", None)
    if problem == "multi_label_classification":
        raise UnsupportedModel(
            f"{name}: multi_label_classification has several labels a row; DeCE needs one class"
        )
    if problem == "regression" or config.num_labels < 2:
        raise UnsupportedModel(
            f"{name}: with {config.num_labels} label(s) it is a regression; DeCE needs classes"
        )


def rows_of(head: Head, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [R, V] and labels [R] that answer to each other. No logits are copied: the labels are shifted.

    Raises:
        UnsupportedModel: shapes or a dtype of another kind of model.
    """
    if labels.dtype.is_floating_point:
        raise UnsupportedModel(
            f"the labels are {labels.dtype}: a regression or several labels a row; DeCE needs classes"
        )
    # A model that lies on several devices ends on another one than its inputs.
    labels = labels.to(logits.device)
    if head is Head.SEQUENCE:
        if logits.ndim != 2 or labels.numel() != logits.shape[0]:
            raise UnsupportedModel(_misfit(head, logits, labels))
        return logits, labels.reshape(-1)
    if logits.ndim != 3 or labels.shape != logits.shape[:2]:
        raise UnsupportedModel(_misfit(head, logits, labels))
    return logits.reshape(-1, logits.shape[-1]), shifted(labels, head).reshape(-1)


def shifted(labels: torch.Tensor, head: Head) -> torch.Tensor:
    """The label that every position answers to, [B, T]: the logits stay whole, the last position has none."""
    return pad(labels, (0, 1), value=IGNORE_INDEX)[:, 1:] if head is Head.NEXT_TOKEN else labels


def _misfit(head: Head, logits: torch.Tensor, labels: torch.Tensor) -> str:
    return f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not fit a head of kind {head}"
