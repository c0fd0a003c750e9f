"""How many rows are worked on at a time."""

import torch

CPU_WORKSPACE = 32 * 2**20
"""Bytes of logits on a CPU. 256 rows of 32,768 fp32 classes: fewer slow the products down, more leave the cache."""
CUDA_WORKSPACE = 512 * 2**20
"""Bytes of logits on a GPU: 2,048 bf16 rows of 128,256 classes, so that re-reading the head's weights and
accumulating its gradient stay small beside the products."""
LEAST_ROWS = {"cpu": 128, "cuda": 1024}


def rows_per_chunk(classes: int, *, dtype: torch.dtype, device: torch.device) -> int:
    """The largest power of two of rows whose logits fit the workspace, within sense for the products."""
    workspace = CUDA_WORKSPACE if device.type == "cuda" else CPU_WORKSPACE
    fitting = max(1, workspace // (classes * dtype.itemsize))
    return max(LEAST_ROWS.get(device.type, 128), 1 << (fitting.bit_length() - 1))
