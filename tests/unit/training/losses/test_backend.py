"""Which kernel computes DeCE's rows, and what is said where the fast one cannot be had."""

import importlib.util
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from training.losses import backend
from training.losses import dece
from training.losses import linear_dece
from training.losses import native
from training.losses import triton_rows
from training.losses.backend import dece_rows
from training.losses.dece import DeceRows
from training.losses.native import KernelUnavailable
from training.losses.native import NativeDeceRows
from training.losses.triton_rows import TritonDeceRows

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def kind(device: torch.device, name: Any = "auto") -> type[DeceRows]:
    return type(dece_rows(alpha=0.9, label_smoothing=0.05, device=device, backend=name))


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_said", set())
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process on a machine without a C compiler."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "no-such-compiler")
    native._library.cache_clear()
    yield
    native._library.cache_clear()


def test_a_cpu_has_the_native_kernel() -> None:
    assert kind(CPU) is NativeDeceRows
    assert kind(CPU, "native") is NativeDeceRows
    assert kind(CPU, "torch") is DeceRows


def test_hyperparameters_reach_the_rows() -> None:
    rows = dece_rows(alpha=0.3, label_smoothing=0.2, mode="parity", spread="all", device=CPU)
    assert rows == NativeDeceRows(alpha=0.3, label_smoothing=0.2, mode="parity", spread="all")


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_torch_takes_over_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    logits, targets = torch.randn(4, 9), torch.tensor([0, 3, -100, 8])
    with caplog.at_level(logging.WARNING):
        automatic = [dece(logits, targets, alpha=0.9) for _ in range(3)]
        linear_dece(torch.randn(4, 2), torch.randn(9, 2), targets, alpha=0.5)
    assert kind(CPU) is DeceRows
    assert all(one == dece(logits, targets, alpha=0.9, backend="torch") for one in automatic)
    assert [record.getMessage() for record in caplog.records] == [
        "DeCE runs in plain torch, more slowly: no C compiler found (looked for $CC, cc, gcc, clang)"
    ]


@pytest.mark.usefixtures("no_compiler")
def test_a_named_kernel_that_cannot_be_had_is_an_error_that_says_why() -> None:
    with pytest.raises(KernelUnavailable, match="native kernel: no C compiler found"):
        dece(torch.randn(2, 9), torch.tensor([0, 1]), alpha=0.9, backend="native")


def test_the_native_kernel_is_for_cpus() -> None:
    with pytest.raises(KernelUnavailable, match="native kernel: tensors are on cuda, not on a CPU"):
        kind(CUDA, "native")


def test_triton_is_for_gpus() -> None:
    with pytest.raises(KernelUnavailable, match="triton kernel: tensors are on cpu, not on a GPU"):
        dece(torch.randn(2, 9), torch.tensor([0, 1]), alpha=0.9, backend="triton")


def test_under_the_interpreter_triton_may_be_asked_for_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert kind(CPU, "triton") is TritonDeceRows
    assert kind(CPU) is NativeDeceRows


@pytest.mark.parametrize("place", ["mps", "xpu", "meta"])
def test_any_other_device_has_plain_torch_without_a_word(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert kind(torch.device(place)) is DeceRows
    assert kind(torch.device(place), "torch") is DeceRows
    assert caplog.records == []


def test_a_gpu_has_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_rows, "unavailable", lambda _device: None)
    assert kind(CUDA) is TritonDeceRows
    assert kind(CUDA, "triton") is TritonDeceRows


def test_a_gpu_without_triton_has_torch_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "triton" else found(name, *rest)
    )
    with caplog.at_level(logging.WARNING):
        assert kind(CUDA) is DeceRows
        assert kind(CUDA) is DeceRows
    assert [record.getMessage() for record in caplog.records] == [
        "DeCE runs in plain torch, more slowly: triton is not installed"
    ]
    with pytest.raises(KernelUnavailable, match="triton kernel: triton is not installed"):
        kind(CUDA, "triton")


@pytest.mark.parametrize("name", ["fast", "", "Native", None])
def test_an_unknown_back_end_is_named(name: Any) -> None:
    with pytest.raises(ValueError, match="must be one of auto, torch, native, triton"):
        kind(CPU, name)
