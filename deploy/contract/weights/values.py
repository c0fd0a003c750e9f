"""The values of the weights, looked at without a library: whether anything can have been trained to be so.

Covers: NaN and infinite values, matrices of nothing but zeros, and sizes that no trained weight has, which is what
numbers look like that were written in the other byte order. Does not cover: weights that are merely bad.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from deploy.contract.weights.header import DTYPE_BYTES
from deploy.contract.weights.header import Tensor

MIN_ELEMENTS: Final = 64
"""Fewer have no distribution to judge by."""
HUGE_SHARE: Final = 8
"""One value in so many. Of numbers in the wrong byte order some four in ten are huge; trained weights have none."""
_BYTES: Final = range(256)
_LOW_BIT: Final = bytes(int(each >= 0x80) for each in _BYTES)
_LOW_NIBBLE: Final = bytes(int(each >= 0xF0) for each in _BYTES)
_TOP: Final = bytes(int(each & 0x7F == 0x7F) for each in _BYTES)
_NOT_HUGE: Final = bytes(each for each in _BYTES if each & 0x7F < 0x48)
"""High bytes of F32 and BF16 below 2**17."""
_NOT_HUGE_F64: Final = bytes(each for each in _BYTES if each & 0x7F < 0x41)
_NOT_TINY: Final = bytes(each for each in _BYTES if each & 0x7F)
_FINITE_F16: Final = bytes(each for each in _BYTES if each & 0x7C != 0x7C)
_FINITE_E4M3: Final = bytes(each for each in _BYTES if each & 0x7F != 0x7F)


def _both(high: bytes, low: bytes, low_table: bytes) -> bool:
    """Whether somewhere the high byte is all exponent and the low one ends it: NaN or infinite."""
    if high.find(b"\x7f") < 0 and high.find(b"\xff") < 0:
        return False
    tops = int.from_bytes(high.translate(_TOP), "little")
    return tops & int.from_bytes(low.translate(low_table), "little") != 0


def _f32(data: bytes) -> bool:
    return _both(data[3::4], data[2::4], _LOW_BIT)


def _bf16(data: bytes) -> bool:
    return _both(data[1::2], data[0::2], _LOW_BIT)


def _f64(data: bytes) -> bool:
    return _both(data[7::8], data[6::8], _LOW_NIBBLE)


def _f16(data: bytes) -> bool:
    return bool(data[1::2].translate(None, _FINITE_F16))


def _e4m3(data: bytes) -> bool:
    return bool(data.translate(None, _FINITE_E4M3))


def _e5m2(data: bytes) -> bool:
    return bool(data.translate(None, _FINITE_F16))


_NOT_FINITE: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "F64": _f64,
    "F32": _f32,
    "F16": _f16,
    "BF16": _bf16,
    "F8_E4M3": _e4m3,
    "F8_E5M2": _e5m2,
}
_SIZED: Final = {"F64": _NOT_HUGE_F64, "F32": _NOT_HUGE, "BF16": _NOT_HUGE}
"""Types with an exponent wide enough to tell a misread number by its size; of the others a misread one is NaN."""


@dataclass(slots=True)
class TensorValues:
    """What was seen of one tensor so far."""

    tensor: Tensor
    not_finite: bool = False
    huge: int = 0
    tiny: int = 0
    zeros_only: bool = True

    def add(self, data: bytes) -> None:
        """Look at some more of its bytes, whole numbers of elements."""
        dtype = self.tensor.dtype
        if dtype not in _NOT_FINITE:
            self.zeros_only = False
            return
        self.zeros_only = self.zeros_only and data.count(0) == len(data)
        self.not_finite = self.not_finite or _NOT_FINITE[dtype](data)
        if dtype in _SIZED:
            width = DTYPE_BYTES[dtype]
            high = data[width - 1 :: width]
            self.huge += len(high.translate(None, _SIZED[dtype]))
            self.tiny += len(high.translate(None, _NOT_TINY))

    def fault(self) -> str | None:
        """What is wrong with it, once all of it was seen."""
        elements = self.tensor.elements
        if self.not_finite:
            return "holds NaN or infinite values"
        if self.zeros_only:
            is_matrix = len(self.tensor.shape) > 1 and min(self.tensor.shape) > 1
            return "is nothing but zeros" if is_matrix else None
        if elements >= MIN_ELEMENTS and (self.huge * HUGE_SHARE > elements or self.tiny == elements):
            return "holds values of a size that no trained weight has; is it in the other byte order?"
        return None


class FileValues:
    """The values of one file, given to it byte by byte from the first to the last."""

    def __init__(self, tensors: Iterable[Tensor], size_bytes: int) -> None:
        ordered = sorted((each for each in tensors if each.end > each.start), key=lambda each: each.start)
        self._waiting = [TensorValues(tensor) for tensor in reversed(ordered)]
        self._skip = size_bytes - (ordered[-1].end if ordered else 0)
        self._position = 0
        self._left = b""
        self.faults: list[str] = []
        """``tensor name: what``, in the order of the file."""

    def add(self, data: bytes) -> None:
        """Look at the next bytes of the file."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        data = self._left + data
        while data and self._waiting:
            current = self._waiting[-1]
            left = current.tensor.end - self._position
            width = DTYPE_BYTES[current.tensor.dtype]
            taken = left if len(data) >= left else len(data) - len(data) % width
            if not taken:
                break
            current.add(data[:taken])
            self._position += taken
            data = data[taken:]
            if self._position == current.tensor.end:
                self._end(current)
        self._left = data

    def _end(self, values: TensorValues) -> None:
        self._waiting.pop()
        fault = values.fault()
        if fault is not None:
            self.faults.append(f"{values.tensor.name} {fault}")
