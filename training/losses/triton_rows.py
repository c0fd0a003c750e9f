"""DeCE's rows on a GPU: what launches triton_kernel.py.

Covers: fp32, bf16 and fp16 logits on CUDA, and on any device under Triton's interpreter
(``TRITON_INTERPRET=1``, for tests). Everything that changes with the epoch is a run-time scalar, so nothing
is compiled twice for a run, and nothing here makes the host wait for the GPU. The block size and the number
of warps are the usual ones for a row reduction; they were chosen without a measurement.
"""

import contextlib
import functools
import importlib.util
import math
from dataclasses import dataclass
from typing import Any

import torch

from training.losses.dece import Blend
from training.losses.dece import DeceRows
from training.losses.row import RowResult

DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})
MOST_COLUMNS = 4096
"""Logits that a program holds at a time, 16 a thread."""
LEAST_CAPABILITY = (7, 0)
"""Of a CUDA device; Triton compiles for no older one."""


def unavailable(device: torch.device) -> str | None:
    """Why the Triton kernel cannot be used on a device; None where it can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    import triton  # heavy, and absent where torch is built for the CPU alone

    if triton.knobs.runtime.interpret:
        return None
    if device.type != "cuda":
        return (
            f"tensors are on {device.type}, not on a GPU (TRITON_INTERPRET=1 runs it anywhere, very slowly)"
        )
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)} is older than Triton can compile for"
    return _driver_fault()


@functools.cache
def _driver_fault() -> str | None:
    """Why Triton cannot reach the GPU's driver: it compiles a stub, for which an image may lack the C compiler."""
    import triton

    try:
        triton.runtime.driver.active.get_current_target()
    except (RuntimeError, OSError, ImportError) as error:
        return f"triton cannot start: {error}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonDeceRows(DeceRows):
    """DeCE at one blending weight in Triton; fp64 stays with torch."""

    @property
    def takes_half(self) -> bool:
        """Yes: half logits are read and their gradient written as such, and all between is fp32."""
        return True

    def rows_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, scale_N: torch.Tensor) -> RowResult:
        """See :class:`training.losses.row.RowLoss`.

        Raises:
            ValueError: logits of another dtype, or rows that are not contiguous.
        """
        if logits_NV.dtype == torch.float64:
            return DeceRows.rows_(self, logits_NV, targets_N, scale_N)
        if logits_NV.dtype not in DTYPES:
            raise ValueError(f"logits are {logits_NV.dtype}: fp32, bf16, fp16 or fp64 is needed")
        if logits_NV.stride(1) != 1:
            raise ValueError("the rows of logits must be contiguous")
        count, classes = logits_NV.shape
        outputs = torch.empty(3, count, dtype=torch.float32, device=logits_NV.device)
        if count:
            launch, scalars, flags = _prepared(self.blend(classes), classes)
            block = min(MOST_COLUMNS, max(16, 1 << (classes - 1).bit_length()))
            with torch.cuda.device(logits_NV.device) if logits_NV.is_cuda else contextlib.nullcontext():
                launch[(count,)](
                    logits_NV,
                    logits_NV.stride(0),
                    classes,
                    targets_N.contiguous(),
                    scale_N.contiguous(),
                    *outputs,
                    *scalars,
                    **flags,
                    BLOCK=block,
                    num_warps=8 if block >= 2048 else 4,
                )
        return RowResult(loss=outputs[0], pull=outputs[1], others=outputs[2])


def _prepared(blend: Blend, classes: int) -> tuple[Any, tuple[float, ...], dict[str, bool]]:
    """The kernel for a blend, its run-time scalars and the flags it is compiled with."""
    from training.losses import triton_kernel

    clamped, smoothed = blend.floor > 0.0, blend.off > 0.0
    if not clamped and not blend.blended:
        return triton_kernel.smoothed_rows, (blend.on, blend.off, 1.0 - blend.on), {"SMOOTHED": smoothed}
    base = (1.0 - blend.alpha) * blend.off
    # Without a clamp the logarithm is that of 1 + k p, which is small for most classes and keeps its digits.
    apart = smoothed and not clamped
    scalars = (
        *(blend.alpha, blend.on, blend.off, (1.0 - blend.alpha) * blend.on),
        *((blend.sharpness, 1.0) if apart else (blend.alpha, base)),
        -blend.off * (classes - 1) * math.log(base) if apart else 0.0,
        blend.floor,
    )
    flags = {"SMOOTHED": smoothed, "CLAMPED": clamped}
    return triton_kernel.blended_rows, tuple(float(one) for one in scalars), flags
