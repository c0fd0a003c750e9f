"""Which kernel computes DeCE's rows."""

import logging
from typing import Literal

import torch

from training.losses import native
from training.losses.dece import DeceRows
from training.losses.dece import Mode
from training.losses.dece import Spread
from training.losses.native import NativeDeceRows

Backend = Literal["auto", "torch", "native", "triton"]
BACKENDS: tuple[Backend, ...] = ("auto", "torch", "native", "triton")

_log = logging.getLogger(__name__)
_said: set[str] = set()


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        _log.warning(message)


def dece_rows(
    *,
    alpha: float,
    label_smoothing: float,
    mode: Mode = "exact",
    spread: Spread = "others",
    backend: Backend = "auto",
    device: torch.device,
) -> DeceRows:
    """DeCE's rows on a device: ``auto`` is the native kernel on a CPU and Triton on CUDA, else plain torch.

    Raises:
        ValueError: a hyperparameter out of range, or an unknown back end.
        KernelUnavailable: the back end was named and cannot be had; the message says why.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} must be one of {', '.join(BACKENDS)}")
    kind = _automatic(device) if backend == "auto" else _asked(backend, device)
    return kind(alpha=alpha, label_smoothing=label_smoothing, mode=mode, spread=spread)


def _automatic(device: torch.device) -> type[DeceRows]:
    if device.type == "cpu":
        reason = native.unavailable()
        if reason is None:
            return NativeDeceRows
        _say_once(f"DeCE runs in plain torch, more slowly: {reason}")
    elif device.type == "cuda":
        from training.losses import triton_rows

        reason = triton_rows.unavailable(device)
        if reason is None:
            return triton_rows.TritonDeceRows
        _say_once(f"DeCE runs in plain torch, more slowly: {reason}")
    return DeceRows


def _asked(backend: Backend, device: torch.device) -> type[DeceRows]:
    if backend == "native":
        reason = (
            native.unavailable() if device.type == "cpu" else f"tensors are on {device.type}, not on a CPU"
        )
        if reason is not None:
            raise native.KernelUnavailable(f"native kernel: {reason}")
        return NativeDeceRows
    if backend == "triton":
        from training.losses import triton_rows

        reason = triton_rows.unavailable(device)
        if reason is not None:
            raise native.KernelUnavailable(f"triton kernel: {reason}")
        return triton_rows.TritonDeceRows
    return DeceRows
