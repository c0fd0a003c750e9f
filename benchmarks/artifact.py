"""DeCE in the released artifact's arithmetic, written by us from its formula, for plain autograd to differentiate.

Its steps in its order, each a tensor of the logits' full size: softmax, clamp to [1e-7, 1], the smoothed
one-hot targets, the two products of the blend and their sum, the logarithm, the product with the targets.
One thing is corrected on purpose where ``denominator`` is given: the artifact's mean divides by all rows,
ignored ones included, so its loss and gradient shrink with the padding.
"""

import torch
from torch.nn import functional

FLOOR = 1e-7


def smoothed_targets(targets_N: torch.Tensor, classes: int, label_smoothing: float) -> torch.Tensor:
    """[N, V]: 1 - e at the target, e / (V - 1) elsewhere."""
    with torch.no_grad():
        spread_NV = torch.full(
            (targets_N.shape[0], classes), label_smoothing / (classes - 1), device=targets_N.device
        )
        return spread_NV.scatter_(1, targets_N[:, None], 1.0 - label_smoothing)


def artifact_dece(
    logits_NV: torch.Tensor,
    targets_N: torch.Tensor,
    *,
    alpha: float,
    label_smoothing: float,
    ignore_index: int,
    denominator: int | None = None,
) -> torch.Tensor:
    """The loss, a scalar.

    Args:
        logits_NV: [N, V].
        targets_N: [N]; ``ignore_index`` must be a class, as the artifact needs it to be.
        alpha: the blending weight, ``alpha_base ** epoch``.
        label_smoothing: e.
        ignore_index: rows with this target count nothing.
        denominator: of the mean; all N rows where None, as the artifact has it.
    """
    smooth_NV = smoothed_targets(targets_N, logits_NV.shape[1], label_smoothing)
    p_NV = functional.softmax(logits_NV, dim=-1)
    p_NV = torch.clamp(p_NV, min=FLOOR, max=1.0)
    blend_NV = alpha * p_NV + (1.0 - alpha) * smooth_NV
    losses_N = -(smooth_NV * torch.log(blend_NV)).sum(dim=-1)
    losses_N = losses_N.masked_fill(targets_N == ignore_index, 0.0)
    return losses_N.mean() if denominator is None else losses_N.sum() / denominator
