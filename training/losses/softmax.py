"""Softmax in plain torch, to fp32 accuracy for every vocabulary."""

import torch

LONG_ROW = 32_768
"""On a CPU, torch's softmax adds a row's exponentials up one after the other: 1e-5 off at 300,000 classes, 2e-6 at
this many. Its sum and logsumexp do not, and a pass of theirs puts longer rows right."""


def _drifts(logits_NV: torch.Tensor) -> bool:
    long = logits_NV.shape[-1] > LONG_ROW
    return long and logits_NV.device.type == "cpu" and logits_NV.dtype == torch.float32


def softmax(logits_NV: torch.Tensor) -> torch.Tensor:
    """Probabilities of the last dimension, in new memory."""
    p_NV = torch.softmax(logits_NV, dim=-1)
    return p_NV.div_(p_NV.sum(dim=-1, keepdim=True)) if _drifts(logits_NV) else p_NV


def log_softmax(logits_NV: torch.Tensor) -> torch.Tensor:
    """Their logarithms, in new memory."""
    log_p_NV = torch.log_softmax(logits_NV, dim=-1)
    return log_p_NV.sub_(torch.logsumexp(log_p_NV, dim=-1, keepdim=True)) if _drifts(logits_NV) else log_p_NV
