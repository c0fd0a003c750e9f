"""How a gradient that was formed in the forward pass meets what comes from above in the backward pass."""

import torch


def passed_on(gradient: torch.Tensor, upstream: torch.Tensor) -> torch.Tensor:
    """``gradient * upstream`` in the gradient's precision, ``upstream`` of one entry or broadcast.

    What a loss gets from above is nearly always 1, and the gradient is the largest thing in memory. On a CPU
    it is handed on as it is then. A GPU is not asked, for the host would wait for its answer: there the
    gradient is scaled in place, and autograd refuses to walk the same graph again.
    """
    if upstream.device.type != "cpu":
        return gradient.mul_(upstream)
    if upstream.numel() == 1 and upstream.item() == 1.0:
        return gradient
    return (gradient * upstream).to(gradient.dtype)
