"""The values of weights (row B12), against numpy, which the code that is tested does without."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from deploy.contract.weights.header import read_file_header
from deploy.contract.weights.values import FileValues

RANDOM = np.random.default_rng(7)
TRAINED = RANDOM.normal(0.0, 0.05, (64, 48))


def bfloat16(values: np.ndarray[Any, Any]) -> bytes:
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()


def faults(path: Path, *, chunk: int = 1 << 20) -> list[str]:
    data = path.read_bytes()
    values = FileValues(read_file_header(path), len(data))
    for start in range(0, len(data), chunk):
        values.add(data[start : start + chunk])
    return values.faults


def stored(path: Path, **arrays: np.ndarray[Any, Any]) -> Path:
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path / "w.safetensors")
    return path / "w.safetensors"


def raw(path: Path, dtype: str, data: bytes, shape: tuple[int, ...] = (64, 48)) -> Path:
    header = f'{{"w":{{"dtype":"{dtype}","shape":{list(shape)},"data_offsets":[0,{len(data)}]}}}}'.encode()
    (path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path / "w.safetensors"


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i4", "i1"])
@pytest.mark.parametrize("chunk", [1, 7, 1000, 1 << 20])
def test_trained_weights_have_no_fault(tmp_path: Path, dtype: str, chunk: int) -> None:
    path = stored(tmp_path, a=TRAINED.astype(dtype), b=np.ones((3,), dtype), empty=np.ones((0, 4), dtype))
    assert faults(path, chunk=chunk) == []


def test_trained_bfloat16_has_no_fault(tmp_path: Path) -> None:
    assert faults(raw(tmp_path, "BF16", bfloat16(TRAINED)), chunk=333) == []


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0), (63, 47), (31, 5)])
def test_b12_one_value_that_is_no_number_is_found(
    tmp_path: Path, dtype: str, value: float, at: tuple[int, int]
) -> None:
    broken = TRAINED.astype(dtype)
    broken[at] = value
    path = stored(tmp_path, good=TRAINED.astype(dtype), bad=broken)
    assert faults(path, chunk=501) == ["bad holds NaN or infinite values"]


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_b12_the_largest_finite_numbers_are_numbers(tmp_path: Path, dtype: str) -> None:
    few = TRAINED.astype(dtype)
    few[0, :2] = np.finfo(dtype).max, np.finfo(dtype).min
    assert faults(stored(tmp_path, w=few)) == []


def test_b12_bfloat16_and_eight_bits(tmp_path: Path) -> None:
    broken = TRAINED.copy()
    broken[9, 9] = np.nan
    assert faults(raw(tmp_path, "BF16", bfloat16(broken))) == ["w holds NaN or infinite values"]
    for dtype, byte in (("F8_E4M3", b"\xff"), ("F8_E5M2", b"\x7c")):
        data = b"\x30" * 3071
        assert faults(raw(tmp_path, dtype, data + byte)) == ["w holds NaN or infinite values"]
        assert faults(raw(tmp_path, dtype, data + b"\x30")) == []


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_b12_a_matrix_of_zeros_is_found_and_a_bias_of_zeros_is_not(tmp_path: Path, dtype: str) -> None:
    path = stored(
        tmp_path, bias=np.zeros(48, dtype), row=np.zeros((1, 48), dtype), matrix=np.zeros((4, 4), dtype)
    )
    assert faults(path) == ["matrix is nothing but zeros"]


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_b12_the_other_byte_order_is_found(tmp_path: Path, dtype: str) -> None:
    [fault] = faults(stored(tmp_path, w=TRAINED.astype(dtype).byteswap()))
    assert fault.startswith("w holds ")


def test_b12_the_other_byte_order_of_bfloat16_and_of_what_was_widened_is_found(tmp_path: Path) -> None:
    swapped = np.frombuffer(bfloat16(TRAINED), "<u2").byteswap().tobytes()
    [fault] = faults(raw(tmp_path, "BF16", swapped))
    assert fault.startswith("w holds ")
    widened = (np.frombuffer(bfloat16(TRAINED), "<u2").astype("<u4") << 16).byteswap().tobytes()
    [fault] = faults(raw(tmp_path, "F32", widened))
    assert "other byte order" in fault
