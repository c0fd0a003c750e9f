"""How many rows are worked on at a time."""

import pytest
import torch

from training.losses.chunk import CPU_WORKSPACE
from training.losses.chunk import CUDA_WORKSPACE
from training.losses.chunk import rows_per_chunk

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("classes", "dtype", "device", "rows"),
    [
        (32_768, torch.float32, CPU, 256),
        (32_768, torch.bfloat16, CPU, 512),
        (300_000, torch.float32, CPU, 128),
        (128_256, torch.bfloat16, CUDA, 2048),
        (151_936, torch.bfloat16, CUDA, 1024),
        (10**9, torch.float32, CUDA, 1024),
        (2, torch.float32, CPU, 4 * 2**20),
    ],
)
def test_the_logits_of_a_chunk_fit_the_workspace(
    classes: int, dtype: torch.dtype, device: torch.device, rows: int
) -> None:
    assert rows_per_chunk(classes, dtype=dtype, device=device) == rows


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_a_chunk_is_a_power_of_two_that_fits_or_the_least(device: torch.device) -> None:
    workspace = CUDA_WORKSPACE if device.type == "cuda" else CPU_WORKSPACE
    least = 1024 if device.type == "cuda" else 128
    for classes in (2, 3, 1000, 50_257, 151_936, 300_000):
        rows = rows_per_chunk(classes, dtype=torch.float32, device=device)
        assert rows & (rows - 1) == 0
        assert rows == least or workspace // 2 < rows * classes * 4 <= workspace


def test_another_device_is_sized_as_a_cpu() -> None:
    assert rows_per_chunk(32_768, dtype=torch.float32, device=torch.device("mps")) == 256
