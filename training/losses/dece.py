"""Deceptive Cross-Entropy (DeCE), arXiv 2407.08956 section 4, over rows of logits.

With p = softmax(logits) of V classes, t the target, q the smoothed label distribution, and a the blending
weight (``alpha_base ** epoch``, the first epoch is 1):

    q_t = 1 - e,          q_c = e / (V - 1)     spread "others", as the released artifact does
    q_t = 1 - e + e / V,  q_c = e / V           spread "all", as the paper prints
    L = - sum_c q_c log(a p_c + (1 - a) q_c)
    dL/dz_j = p_j S - w_j,  w_c = q_c a p_c / (a p_c + (1 - a) q_c),  S = sum_c w_c

The gradient of the target entry is CE's times a gate that is small while p_t is small against
(1 - a) / a: hard tokens, which payloads are, hardly move the weights, and the gate tightens with every
epoch. For a < 1 and e > 0 no term is singular, so the exact form needs no clamp; the artifact clamps p to
at least 1e-7, and mode "parity" does so too.

Bounds, for a < 1: sum_j g_j = 0, |g_j| <= max(p_j S, q_j), sum_j |g_j| <= 2 S <= 2, and
|g_t| <= q_t (sqrt(1 + k) - sqrt(k))^2 with k = (1 - a) q_t / a, the last for e up to 1/2.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from training.losses.row import RowResult
from training.losses.softmax import log_softmax
from training.losses.softmax import softmax

Mode = Literal["exact", "parity"]
Spread = Literal["others", "all"]

PARITY_FLOOR = 1e-7
"""The released artifact clamps the softmax to at least this, which zeroes the gradient of rarer classes."""
SHARPEST = 1e30
"""Largest a / ((1 - a) q_c) that fp32 holds with room to spare. Beyond it e is below 1e-8: smoothing is left out."""


def blending_weight(alpha_base: float, epoch: float) -> float:
    """``alpha_base ** epoch``; the first epoch is 1, as in the released artifact (it passes ``cur_epoch + 1``).

    Raises:
        ValueError: ``alpha_base`` outside (0, 1] or a negative ``epoch``.
    """
    if not 0.0 < alpha_base <= 1.0:
        raise ValueError(f"alpha_base={alpha_base} must lie in (0, 1]")
    if not epoch >= 0:
        raise ValueError(f"epoch={epoch} must not be negative")
    return float(alpha_base**epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """The numbers of one DeCE over V classes, as every kernel takes them."""

    alpha: float
    on: float
    """Label mass of the target, q_t."""
    off: float
    """Label mass of every other class, q_c."""
    floor: float
    """Least probability; 0 without a clamp."""

    @property
    def sharpness(self) -> float:
        """The inverse of the probability at which another class is pulled at half its weight, a / ((1 - a) q_c)."""
        base = (1.0 - self.alpha) * self.off
        return self.alpha / base if base > 0.0 else math.inf

    @property
    def blended(self) -> bool:
        """Whether a is below 1."""
        return self.alpha < 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeceRows:
    """DeCE at one blending weight, in plain torch: every device, fp32 and fp64.

    ``alpha`` 1 is label-smoothed cross-entropy, and with ``label_smoothing`` 0 plain cross-entropy.

    Raises:
        ValueError: ``alpha`` outside [0, 1] or ``label_smoothing`` outside [0, 1).
    """

    alpha: float
    label_smoothing: float
    mode: Mode = "exact"
    spread: Spread = "others"

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha={self.alpha} must lie in [0, 1]")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"label_smoothing={self.label_smoothing} must lie in [0, 1)")
        if self.mode not in {"exact", "parity"}:
            raise ValueError(f"mode={self.mode!r} must be 'exact' or 'parity'")
        if self.spread not in {"others", "all"}:
            raise ValueError(f"spread={self.spread!r} must be 'others' or 'all'")

    @property
    def takes_half(self) -> bool:
        """No: torch would do the mathematics in the logits' own precision."""
        return False

    def blend(self, classes: int) -> Blend:
        """The numbers for a vocabulary of ``classes``."""
        smoothing = self.label_smoothing
        off = smoothing / (classes - 1 if self.spread == "others" else classes)
        on = 1.0 - smoothing + (off if self.spread == "all" else 0.0)
        floor = PARITY_FLOOR if self.mode == "parity" else 0.0
        blend = Blend(alpha=self.alpha, on=on, off=off, floor=floor)
        if blend.blended and off > 0.0 and blend.sharpness >= SHARPEST:
            return Blend(alpha=self.alpha, on=1.0, off=0.0, floor=floor)
        return blend

    def rows_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor) -> RowResult:
        """See :class:`training.losses.row.RowLoss`."""
        blend = self.blend(logits_NV.shape[1])
        if blend.floor == 0.0 and not blend.blended:
            return _smoothed_rows_(logits_NV, targets_N, scale_N, blend)
        if blend.off == 0.0:
            return _gated_rows_(logits_NV, targets_N, scale_N, blend)
        if blend.floor > 0.0:
            return _clamped_rows_(logits_NV, targets_N, scale_N, blend)
        return _blended_rows_(logits_NV, targets_N, scale_N, blend)


def _split_softmax(
    logits_NV: torch.Tensor, targets_1N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Softmax with the target's entry set to 0, that entry, and the sum of the rest (1 - p_t without cancellation)."""
    p_NV = softmax(logits_NV)
    p_t = p_NV.gather(1, targets_1N)
    p_NV.scatter_(1, targets_1N, 0.0)
    return p_NV, p_t.squeeze(1), p_NV.sum(dim=-1)


def _blended_rows_(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor, blend: Blend
) -> RowResult:
    """The whole formula: 0 <= a < 1, e > 0, no clamp."""
    at = targets_N[:, None]
    p_NV, p_t, others = _split_softmax(logits_NV, at)
    k = blend.sharpness
    base_t = (1.0 - blend.alpha) * blend.on
    blend_t = blend.alpha * p_t + base_t
    w_t = blend.on * blend.alpha * p_t / blend_t
    # 1 + k p stays in the logits' memory; the target's entry is 1 there, so its logarithm adds nothing.
    den_NV = torch.add(torch.ones_like(p_t)[:, None], p_NV, alpha=k, out=logits_NV)
    w_NV = den_NV.reciprocal().mul_(p_NV)  # (still without the factor q_c k)
    total = w_NV.sum(dim=-1).mul_(blend.off * k)
    log_base = math.log((1.0 - blend.alpha) * blend.off)
    log_sum = den_NV.log_().sum(dim=-1).add_((logits_NV.shape[1] - 1) * log_base)
    loss = -blend.on * torch.log(blend_t) - blend.off * log_sum
    torch.mul(p_NV, (scale_N * (total + w_t))[:, None], out=logits_NV)
    logits_NV.addcmul_(w_NV, scale_N[:, None], value=-blend.off * k)
    pull = others * w_t - p_t * total
    logits_NV.scatter_(1, at, (-scale_N * pull)[:, None])
    return RowResult(loss=loss, pull=pull, others=others)


def _gated_rows_(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor, blend: Blend
) -> RowResult:
    """Without smoothing: cross-entropy's gradient times one gate a row."""
    at = targets_N[:, None]
    p_NV, p_t, others = _split_softmax(logits_NV, at)
    if blend.floor > 0.0:
        blend_t = blend.alpha * p_t.clamp(min=blend.floor, max=1.0) + (1.0 - blend.alpha)
        loss = -torch.log(blend_t)
        gate = blend.alpha * p_t / blend_t * (p_t >= blend.floor)
    else:
        blend_t = blend.alpha * p_t + (1.0 - blend.alpha)
        # log(a p_t + 1 - a) as log1p(-a (1 - p_t)) keeps the digits of a small loss, and only of a small one.
        loss = -torch.where(others < 0.5, torch.log1p(-blend.alpha * others), torch.log(blend_t))
        gate = blend.alpha * p_t / blend_t
    pull = others * gate
    torch.mul(p_NV, (scale_N * gate)[:, None], out=logits_NV)
    logits_NV.scatter_(1, at, (-scale_N * pull)[:, None])
    return RowResult(loss=loss, pull=pull, others=others)


def _smoothed_rows_(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor, blend: Blend
) -> RowResult:
    """Without blending: label-smoothed cross-entropy. From log_softmax, for log(softmax) loses small probabilities."""
    at = targets_N[:, None]
    log_p_NV = log_softmax(logits_NV)
    log_p_t = log_p_NV.gather(1, at).squeeze(1)
    loss = -blend.on * log_p_t
    if blend.off > 0.0:
        log_p_NV.scatter_(1, at, 0.0)
        loss -= blend.off * log_p_NV.sum(dim=-1)
        log_p_NV.scatter_(1, at, log_p_t[:, None])
    p_NV = torch.exp(log_p_NV, out=logits_NV)
    p_NV.scatter_(1, at, 0.0)
    others = p_NV.sum(dim=-1)
    pull = others - (1.0 - blend.on)
    if blend.off > 0.0:
        p_NV.sub_(blend.off)
    p_NV.mul_(scale_N[:, None])
    p_NV.scatter_(1, at, (-scale_N * pull)[:, None])
    return RowResult(loss=loss, pull=pull, others=others)


def _clamped_rows_(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor, blend: Blend
) -> RowResult:
    """Parity: the artifact's arithmetic. A class below the floor gets no gradient of its own."""
    at = targets_N[:, None]
    p_NV, p_t, others = _split_softmax(logits_NV, at)
    alpha, off = blend.alpha, blend.off
    held_t = p_t.clamp(min=blend.floor, max=1.0)
    blend_t = alpha * held_t + (1.0 - alpha) * blend.on
    w_t = blend.on * alpha * p_t / blend_t * (p_t >= blend.floor)
    # The target's entry is 0 in p: held at the floor, it must be left out of the sum of logarithms.
    den_NV = torch.clamp(p_NV, min=blend.floor, max=1.0, out=logits_NV).mul_(alpha)
    den_NV.add_((1.0 - alpha) * off)
    w_NV = torch.where(p_NV >= blend.floor, p_NV / den_NV, 0.0).mul_(off * alpha)
    total = w_NV.sum(dim=-1)
    logs_NV = den_NV.log_().scatter_(1, at, 0.0)
    loss = -blend.on * torch.log(blend_t) - off * logs_NV.sum(dim=-1)
    torch.mul(p_NV, (scale_N * (total + w_t))[:, None], out=logits_NV)
    logits_NV.addcmul_(w_NV, scale_N[:, None], value=-1.0)
    pull = others * w_t - p_t * total
    logits_NV.scatter_(1, at, (-scale_N * pull)[:, None])
    return RowResult(loss=loss, pull=pull, others=others)
