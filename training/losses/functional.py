"""The losses as pure functions of logits, or of hidden states and the head that makes logits of them."""

from typing import Any
from typing import Unpack

import torch

from training.losses.backend import Backend
from training.losses.backend import dece_rows
from training.losses.dece import Mode
from training.losses.dece import Spread
from training.losses.eager import eager
from training.losses.generalised_cross_entropy import GeneralisedCrossEntropyRows
from training.losses.in_trust import InTrustRows
from training.losses.over_hidden import over_hidden
from training.losses.over_logits import over_logits
from training.losses.supervised import RowOptions


@eager
def dece(
    logits_RV: torch.Tensor,
    targets_R: torch.Tensor,
    *,
    alpha: float | torch.Tensor,
    label_smoothing: float = 0.05,
    mode: Mode = "exact",
    spread: Spread = "others",
    backend: Backend = "auto",
    **options: Unpack[RowOptions],
) -> torch.Tensor:
    """Deceptive Cross-Entropy (arXiv 2407.08956, section 4) of [R, V] logits.

    Args:
        logits_RV: [R, V] floating point.
        targets_R: [R] integers in 0..V-1, or ``ignore_index``.
        alpha: the blending weight at this position of the run (see ``AlphaSchedule``), a number or a
            0-dim tensor on the CPU, so that a compiled caller is not compiled again for every epoch.
            1 is label-smoothed cross-entropy.
        label_smoothing: in [0, 1), the paper's epsilon.
        mode: ``exact``, or ``parity`` with the released artifact's clamp at 1e-7.
        spread: the smoothed mass goes to the ``others``, e / (V - 1) each, as in the artifact, or to
            ``all``, e / V each, as the paper prints.
        backend: ``auto`` picks the fastest at hand.
        options: ``ignore_index``, ``reduction``, ``num_items_in_batch``, ``softcap``, ``positions`` and
            ``meter``, see :func:`training.losses.over_logits.over_logits`.

    Returns:
        A scalar, or [R] with reduction ``none``.

    Raises:
        ValueError: a hyperparameter, shape, dtype or target out of range; the message names it.
        KernelUnavailable: the named back end cannot be had.
    """
    row = dece_rows(
        alpha=float(alpha),
        label_smoothing=label_smoothing,
        mode=mode,
        spread=spread,
        backend=backend,
        device=logits_RV.device,
    )
    return over_logits(logits_RV, targets_R, row, **options)


@eager
def linear_dece(
    hidden_RH: torch.Tensor,
    weight_VH: torch.Tensor,
    targets_R: torch.Tensor,
    *,
    alpha: float | torch.Tensor,
    label_smoothing: float = 0.05,
    mode: Mode = "exact",
    spread: Spread = "others",
    backend: Backend = "auto",
    bias_V: torch.Tensor | None = None,
    chunk_rows: int | None = None,
    **options: Unpack[RowOptions],
) -> torch.Tensor:
    """DeCE of ``hidden @ weight.T + bias`` that never holds the logits of more than one chunk of rows.

    Arguments as for :func:`dece` and :func:`training.losses.over_hidden.over_hidden`.

    Raises:
        ValueError: a hyperparameter, shape, dtype or target out of range; the message names it.
        KernelUnavailable: the named back end cannot be had.
    """
    row = dece_rows(
        alpha=float(alpha),
        label_smoothing=label_smoothing,
        mode=mode,
        spread=spread,
        backend=backend,
        device=hidden_RH.device,
    )
    return over_hidden(hidden_RH, weight_VH, targets_R, row, bias_V=bias_V, chunk_rows=chunk_rows, **options)


def cross_entropy(logits_RV: torch.Tensor, targets_R: torch.Tensor, **options: Any) -> torch.Tensor:
    """Plain cross-entropy, -log p_t. Options and errors as for :func:`dece`."""
    return dece(logits_RV, targets_R, alpha=1.0, label_smoothing=0.0, **options)


def label_smoothed_cross_entropy(
    logits_RV: torch.Tensor, targets_R: torch.Tensor, *, label_smoothing: float, **options: Any
) -> torch.Tensor:
    """Cross-entropy against (1 - e) onehot + e / V (Szegedy et al., arXiv 1512.00567, section 7)."""
    return dece(logits_RV, targets_R, alpha=1.0, label_smoothing=label_smoothing, spread="all", **options)


def generalised_cross_entropy(
    logits_RV: torch.Tensor, targets_R: torch.Tensor, *, q: float = 0.5, **options: Unpack[RowOptions]
) -> torch.Tensor:
    """(1 - p_t^q) / q (Zhang and Sabuncu, arXiv 1805.07836). Options and errors as for :func:`dece`."""
    return over_logits(logits_RV, targets_R, GeneralisedCrossEntropyRows(q=q), **options)


def in_trust(
    logits_RV: torch.Tensor,
    targets_R: torch.Tensor,
    *,
    cross_entropy_weight: float = 0.2,
    distrust_weight: float = 0.8,
    delta: float = 0.5,
    **options: Unpack[RowOptions],
) -> torch.Tensor:
    """In-trust loss (Huang et al. 2021) with the DeCE artifact's constants. Options and errors as for :func:`dece`."""
    row = InTrustRows(cross_entropy_weight=cross_entropy_weight, distrust_weight=distrust_weight, delta=delta)
    return over_logits(logits_RV, targets_R, row, **options)
