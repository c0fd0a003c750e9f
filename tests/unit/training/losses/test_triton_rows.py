"""The Triton kernel, without a GPU: under Triton's interpreter against float64, and compiled for GPUs not at hand.

Does not cover: a launch on a GPU, where exp and log are the hardware's approximations (marked ``gpu``).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from loss_formulas import assert_gradients_close
from loss_formulas import assert_losses_close
from loss_formulas import losses_and_gradient
from loss_formulas import paper_dece
from loss_formulas import random_rows

from training.losses import dece
from training.losses import linear_dece
from training.losses import triton_rows
from training.losses.dece import DeceRows
from training.losses.triton_rows import TritonDeceRows
from training.losses.triton_rows import unavailable

SCRIPT = Path(__file__).parents[3] / "fixtures" / "interpreted_triton.py"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")

pytest.importorskip("triton")


def in_another_process(
    what: str, tmp_path_factory: pytest.TempPathFactory, *, interpret: str
) -> list[dict[str, Any]]:
    environment = {
        **os.environ,
        "TRITON_INTERPRET": interpret,
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
        "TRITON_DEFAULT_FP_FUSION": "1",
        "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), str(SCRIPT.parents[2])]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), what], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return in_another_process("interpret", tmp_path_factory, interpret="1")


def test_interpreted_losses_and_gradients_equal_the_formula(interpreted: list[dict[str, Any]]) -> None:
    cases = [one for one in interpreted if "case" in one]
    assert len(cases) == 168
    for one in cases:
        assert one["loss"] <= 1e-5, one
        assert one["pull"] <= 1e-5, one
        assert one["others"] <= 1e-5, one
        if one["dtype"] == "float32":
            # Where alpha is 0 the gradient is, and its norm is rounding.
            assert one["gradient"] <= 1e-5 or one["alpha"] == 0.0, one
        else:
            # The interpreter truncates to bf16 where a GPU rounds: an entry may be off by a whole last place.
            assert one["entry"] <= 1e-5 or one["alpha"] == 0.0, one


def test_interpreted_adversarial_rows_are_those_of_plain_torch(interpreted: list[dict[str, Any]]) -> None:
    cases = [one for one in interpreted if "adversarial" in one]
    assert len(cases) == 12
    for one in cases:
        assert all(one["losses"]), one
        assert all(one["rows"]), one


def test_interpreted_losses_are_those_of_plain_torch(interpreted: list[dict[str, Any]]) -> None:
    cases = [one for one in interpreted if "whole" in one]
    assert len(cases) == 12
    for one in cases:
        assert max(one["losses"]) <= 1e-5, one
        assert max(one["gradients"]) <= (1e-5 if one["dtype"] == "float32" else 1e-2), one


def test_the_kernels_compile_for_gpus(tmp_path_factory: pytest.TempPathFactory) -> None:
    cases = in_another_process("compile", tmp_path_factory, interpret="0")
    assert len(cases) == 9
    for one in cases:
        assert one["bytes"] > 1000, one
        assert one["rounds"], one


def test_fp64_stays_with_torch() -> None:
    logits, targets = random_rows(1)
    ours, theirs = logits.double(), logits.double()
    scale = torch.ones(len(targets), dtype=torch.float64)
    result = TritonDeceRows(alpha=0.9, label_smoothing=0.1).rows_(ours, targets, scale)
    expected = DeceRows(alpha=0.9, label_smoothing=0.1).rows_(theirs, targets, scale)
    assert torch.equal(ours, theirs)
    assert torch.equal(result.loss, expected.loss)


def test_no_rows_launch_nothing() -> None:
    result = TritonDeceRows(alpha=0.9, label_smoothing=0.1).rows_(
        torch.zeros(0, 9), torch.zeros(0, dtype=torch.long), torch.zeros(0)
    )
    assert result.loss.shape == result.pull.shape == result.others.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int32])
def test_logits_of_another_precision_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"logits are {dtype}"):
        TritonDeceRows(alpha=0.9, label_smoothing=0.1).rows_(
            torch.zeros(2, 9).to(dtype), torch.zeros(2, dtype=torch.long), torch.ones(2)
        )


def test_rows_that_are_not_contiguous_are_refused() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        TritonDeceRows(alpha=0.9, label_smoothing=0.1).rows_(
            torch.zeros(9, 2).t(), torch.zeros(2, dtype=torch.long), torch.ones(2)
        )


@pytest.mark.parametrize("mode", ["exact", "parity"])
@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_what_changes_with_the_epoch_is_no_part_of_what_is_compiled(mode: Any, smoothing: float) -> None:
    """Flags and the scalars' types make a compilation; the scalars' values do not, being floats."""
    kernels, flags, scalars = set(), set(), set()
    for epoch in range(1, 21):
        row = TritonDeceRows(alpha=0.8**epoch, label_smoothing=smoothing, mode=mode)
        kernel, given, flag = triton_rows._prepared(row.blend(1000), 1000)
        kernels.add(kernel)
        flags.add(tuple(flag.items()))
        scalars.add(given)
        assert all(type(one) is float for one in given)
    assert len(kernels) == len(flags) == 1
    assert len(scalars) == 20


def test_it_takes_half_and_torch_does_not() -> None:
    assert TritonDeceRows(alpha=0.9, label_smoothing=0.1).takes_half
    assert not DeceRows(alpha=0.9, label_smoothing=0.1).takes_half


@pytest.fixture(autouse=True)
def no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    triton_rows._driver_fault.cache_clear()


def test_why_not_on_a_cpu() -> None:
    assert "tensors are on cpu, not on a GPU" in str(unavailable(CPU))


def test_why_not_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert unavailable(CUDA) == "torch sees no GPU"


def test_why_not_on_an_old_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla P4")
    assert unavailable(CUDA) == "Tesla P4 is older than Triton can compile for"


def test_why_not_where_triton_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without a C compiler: Triton builds its launcher with one when it is first asked for the driver."""
    import triton

    class NoDriver:
        @property
        def active(self) -> Any:
            raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(triton.runtime, "driver", NoDriver())
    assert unavailable(CUDA) == "triton cannot start: Failed to find C compiler."


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("alpha", "smoothing"), [(0.985, 0.05), (0.9, 0.0), (1.0, 0.05), (1.0, 0.0)])
@pytest.mark.parametrize("classes", [2, 1000, 32_768, 128_256])
def test_on_a_gpu_it_equals_the_formula(
    dtype: torch.dtype, alpha: float, smoothing: float, classes: int
) -> None:
    logits, targets = random_rows(1, count=100, classes=classes)
    logits = logits.to(dtype)
    truth, gradient = losses_and_gradient(
        lambda z: paper_dece(z, targets, alpha=alpha, smoothing=smoothing), logits.double()
    )
    leaf = logits.cuda().requires_grad_(True)
    options: dict[str, Any] = {"alpha": alpha, "label_smoothing": smoothing, "backend": "triton"}
    rows = dece(leaf, targets.cuda(), reduction="none", **options)
    rows.sum().backward()
    assert leaf.grad is not None
    assert_losses_close(rows.cpu(), truth)
    assert_gradients_close(leaf.grad.cpu(), gradient, relative=1e-5 if dtype == torch.float32 else 3e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_host_never_waits_and_compiles_once() -> None:
    from training.losses import triton_kernel

    hidden = torch.randn(64, 32, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    head = torch.randn(1000, 32, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    targets = torch.randint(1000, (64,), device="cuda")
    positions = torch.arange(0, 64, 2, device="cuda")

    def step(epoch: int) -> None:
        options: dict[str, Any] = {"backend": "triton", "positions": positions}
        linear_dece(hidden, head, targets, alpha=0.8**epoch, **options).backward()

    step(1)
    caches = [len(one[0]) for one in triton_kernel.blended_rows.device_caches.values()]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for epoch in range(2, 21):
            step(epoch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [len(one[0]) for one in triton_kernel.blended_rows.device_caches.values()] == caches
