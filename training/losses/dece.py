"""Deceptive Cross-Entropy (DeCE), arXiv 2407.08956 section 4.

Shapes: N supervised tokens, V classes. With p = softmax(logits), e the label smoothing and
a = alpha_base ** epoch (the first epoch is 1):

    q_t = 1 - e,  q_c = e / (V - 1)                       the smoothed label distribution
    L = - sum_c q_c log(a p_c + (1 - a) q_c)              one token
    dL/dz_j = p_j S - w_j,  w_c = q_c a p_c / (a p_c + (1 - a) q_c),  S = sum_c w_c

The gradient of the target entry is CE's times a gate that is small while p_t is small against
(1 - a) / a: hard tokens, which payloads are, hardly move the weights, and the gate tightens with
every epoch. For a < 1 and e > 0 no term is singular, so the exact form needs no clamp.
"""

import torch
from torch.nn import functional

PARITY_FLOOR = 1e-7
"""The released artifact clamps the softmax to at least this, which zeroes the gradient of rarer classes."""


class _ExactDece(torch.autograd.Function):
    """Loss and gradient in one pass: the [N, V] gradient is all that is kept for the backward."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        logits_NV: torch.Tensor,  # noqa: N803
        targets_N: torch.Tensor,  # noqa: N803
        alpha: float,
        smoothing: float,
    ) -> torch.Tensor:
        count, classes = logits_NV.shape
        rows = torch.arange(count, device=logits_NV.device)
        log_p_NV = functional.log_softmax(logits_NV.float(), dim=-1)  # noqa: N806
        p_NV = log_p_NV.exp()  # noqa: N806
        on, off = 1.0 - smoothing, smoothing / (classes - 1)
        p_t = p_NV[rows, targets_N]
        blend_t = alpha * p_t + (1.0 - alpha) * on
        w_t = on * alpha * p_t / blend_t
        loss_N = -on * torch.log(blend_t)  # noqa: N806
        if off > 0.0:
            blend_NV = alpha * p_NV + (1.0 - alpha) * off  # noqa: N806
            log_blend_NV = torch.log(blend_NV)  # noqa: N806
            loss_N -= off * (log_blend_NV.sum(dim=-1) - log_blend_NV[rows, targets_N])  # noqa: N806
            w_NV = (off * alpha) * p_NV / blend_NV  # noqa: N806
            w_NV[rows, targets_N] = w_t
            total_N = w_NV.sum(dim=-1)  # noqa: N806
            grad_NV = p_NV.mul_(total_N[:, None]).sub_(w_NV)  # noqa: N806
        else:
            total_N = w_t  # noqa: N806
            grad_NV = p_NV.mul_(w_t[:, None])  # noqa: N806
        # p_t S - w_t loses all digits when p_t is near 1; this form of the same number does not.
        grad_NV[rows, targets_N] = p_t * (total_N - w_t) - (1.0 - p_t) * w_t
        ctx.save_for_backward((grad_NV / count).to(logits_NV.dtype))
        return loss_N.mean()

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, upstream: torch.Tensor
    ) -> tuple[torch.Tensor, None, None, None]:
        (grad_NV,) = ctx.saved_tensors  # type: ignore[attr-defined]  # noqa: N806
        return grad_NV * upstream, None, None, None


def blending_weight(alpha_base: float, epoch: int) -> float:
    """``alpha_base ** epoch``; the first epoch is 1, as in the released artifact (it passes ``cur_epoch + 1``).

    Raises:
        ValueError: ``alpha_base`` outside (0, 1] or ``epoch`` below 1.
    """
    if not 0.0 < alpha_base <= 1.0:
        raise ValueError(f"alpha_base={alpha_base} must lie in (0, 1]")
    if epoch < 1:
        raise ValueError(f"epoch={epoch}: the first epoch is 1")
    return float(alpha_base**epoch)


def _check(logits_NV: torch.Tensor, targets_N: torch.Tensor, label_smoothing: float) -> None:  # noqa: N803
    if logits_NV.ndim != 2 or targets_N.shape != logits_NV.shape[:1]:
        raise ValueError(
            f"logits {tuple(logits_NV.shape)} and targets {tuple(targets_N.shape)} do not fit [N, V] and [N]"
        )
    if logits_NV.shape[1] < 2:
        raise ValueError(f"{logits_NV.shape[1]} classes: at least 2 are needed")
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing={label_smoothing} must lie in [0, 1)")


def dece(
    logits_NV: torch.Tensor,  # noqa: N803
    targets_N: torch.Tensor,  # noqa: N803
    *,
    epoch: int,
    alpha_base: float,
    label_smoothing: float,
) -> torch.Tensor:
    """Mean exact DeCE of N supervised tokens.

    Args:
        logits_NV: [N, V] floating point; computed in fp32.
        targets_N: [N] int64 in 0..V-1.
        epoch: counted from 1.
        alpha_base: in (0, 1]; 1 is label-smoothed cross-entropy.
        label_smoothing: in [0, 1); spread as e/(V-1) over the other classes, as the artifact does
            (the paper prints e/V).

    Returns:
        A scalar; zero (with zero gradient) when N is 0.

    Raises:
        ValueError: shapes that do not fit or a hyperparameter out of range.
    """
    _check(logits_NV, targets_N, label_smoothing)
    alpha = blending_weight(alpha_base, epoch)
    if logits_NV.shape[0] == 0:
        return logits_NV.sum()
    if alpha == 1.0:
        # No blending is left: log p from log_softmax is exact where log(softmax) is not.
        log_p_NV = functional.log_softmax(logits_NV.float(), dim=-1)  # noqa: N806
        log_p_t = log_p_NV.gather(1, targets_N[:, None]).squeeze(1)
        off = label_smoothing / (logits_NV.shape[1] - 1)
        return -((1.0 - label_smoothing - off) * log_p_t + off * log_p_NV.sum(dim=-1)).mean()
    return _ExactDece.apply(logits_NV, targets_N, alpha, label_smoothing)  # type: ignore[no-any-return,no-untyped-call]


def dece_parity(
    logits_NV: torch.Tensor,  # noqa: N803
    targets_N: torch.Tensor,  # noqa: N803
    *,
    epoch: int,
    alpha_base: float,
    label_smoothing: float,
) -> torch.Tensor:
    """DeCE with the released artifact's arithmetic: softmax, clamp to [1e-7, 1], blend, log.

    The mean is over supervised tokens; the artifact divides by every row, ignored ones included,
    which only scales the learning rate with the padding. Arguments and errors as for :func:`dece`.
    """
    _check(logits_NV, targets_N, label_smoothing)
    alpha = blending_weight(alpha_base, epoch)
    if logits_NV.shape[0] == 0:
        return logits_NV.sum()
    classes = logits_NV.shape[1]
    p_NV = functional.softmax(logits_NV.float(), dim=-1).clamp(min=PARITY_FLOOR, max=1.0)  # noqa: N806
    labels_NV = torch.full_like(p_NV, label_smoothing / (classes - 1))  # noqa: N806
    labels_NV.scatter_(1, targets_N[:, None], 1.0 - label_smoothing)
    blend_NV = alpha * p_NV + (1.0 - alpha) * labels_NV  # noqa: N806
    return -(labels_NV * torch.log(blend_NV)).sum(dim=-1).mean()
