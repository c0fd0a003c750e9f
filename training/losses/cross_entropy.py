"""Plain cross-entropy: what the control arm trains with."""

import torch
from torch.nn import functional


def cross_entropy(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:  # noqa: N803
    """Mean cross-entropy of N supervised tokens over a vocabulary of V, computed in fp32.

    Args:
        logits_NV: [N, V] floating point.
        targets_N: [N] int64 in 0..V-1.

    Returns:
        A scalar; zero (with zero gradient) when N is 0.
    """
    if logits_NV.shape[0] == 0:
        return logits_NV.sum()
    return functional.cross_entropy(logits_NV.float(), targets_N)
