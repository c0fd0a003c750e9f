"""An optimizer step in the released artifact's manner, written by us: what our own step is measured against.

Every row is padded to 512 tokens and given without a mask, the head multiplies every position, ``labels=`` is
passed so that the model computes a cross-entropy which nobody uses, and DeCE is computed by
:func:`benchmarks.artifact.artifact_dece` on a shifted copy of the logits. Like the artifact it clips nothing.

Two things differ on purpose, so that both loops see the same losses: the mean is over the supervised tokens,
where the artifact divides by all of them, and the weights are fp32, as ours are on a CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.artifact import artifact_dece
from deploy.contract.spec import TrainingPlan
from training.data.example import Example
from training.model import LoadedModel

ROW_TOKENS = 512
"""The artifact's ``cutoff_len``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedRows:
    """[B, 512] tokens, and the same as labels, where the prompt and the padding carry the padding's id."""

    input_ids: torch.Tensor
    labels: torch.Tensor


def padded_rows(examples: Sequence[Example], *, pad_id: int) -> PaddedRows:
    """The artifact's layout.

    Raises:
        ValueError: a row is longer than 512 tokens.
    """
    longest = max(example.tokens for example in examples)
    if longest > ROW_TOKENS:
        raise ValueError(f"a row has {longest} tokens, at most {ROW_TOKENS} fit")
    inputs, labels = [], []
    for example in examples:
        padding = [pad_id] * (ROW_TOKENS - example.tokens)
        inputs.append([*example.prompt_ids, *example.completion_ids, *padding])
        labels.append([*[pad_id] * len(example.prompt_ids), *example.completion_ids, *padding])
    return PaddedRows(input_ids=torch.tensor(inputs), labels=torch.tensor(labels))


class ArtifactLoop:
    """The model, its optimizer, and a step."""

    def __init__(self, loaded: LoadedModel, plan: TrainingPlan, *, label_smoothing: float) -> None:
        self._loaded = loaded
        self._label_smoothing = label_smoothing
        weights = list(loaded.model.parameters())
        # The groups of our own loop, or the two would not compute the same.
        groups = [
            {"params": [w for w in weights if w.ndim >= 2], "weight_decay": plan.weight_decay},
            {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate)
        loaded.model.train()

    def step(self, examples: Sequence[Example], *, alpha: float, learning_rate: float) -> float:
        """One optimizer step. Returns the loss."""
        pad_id = self._loaded.pad_id
        rows = padded_rows(examples, pad_id=pad_id)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad()
        outputs = self._loaded.model(input_ids=rows.input_ids, labels=rows.labels)
        shifted_logits = outputs.logits[..., :-1, :].contiguous()
        shifted_labels = rows.labels[..., 1:].contiguous()
        loss = artifact_dece(
            shifted_logits.view(-1, shifted_logits.shape[-1]),
            shifted_labels.view(-1),
            alpha=alpha,
            label_smoothing=self._label_smoothing,
            ignore_index=pad_id,
            denominator=sum(len(example.completion_ids) for example in examples),
        )
        value = loss.item()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return value
