"""The header of a safetensors file, read without the library and without trust.

Covers: absurd lengths (refused after eight bytes), unreadable or ambiguous JSON, unknown dtypes, shapes
that overflow, tensors that overlap, leave gaps or end elsewhere than the file, files cut short. Does
not cover: the values of the weights.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import BinaryIO
from typing import Final

from deploy.contract import strict_json
from deploy.contract.weights.error import ModelRefused

MAX_HEADER_BYTES: Final = 8 << 20
"""The library allows 100 MB, which takes it 7 s and 1.4 GB; the largest models' shards need less than 1 MB."""
MAX_TENSORS: Final = 20_000
"""Per file. A mixture of 256 experts over 60 layers, in shards, stays below."""
MAX_DIMENSIONS: Final = 8
MAX_ELEMENTS: Final = 1 << 48
"""Of one tensor: beyond any file, and no product of two of them overflows 128 bits."""
MAX_METADATA: Final = 1000
_METADATA: Final = "__metadata__"
_MAX_STRUCTURE: Final = {b"{": 2 * MAX_TENSORS, b"[": 3 * MAX_TENSORS, b",": 10 * MAX_TENSORS}
"""A header of small values would grow twentyfold in memory; a real one has one object and two short lists a tensor."""
_NAME: Final = re.compile(r"[\x21-\x7e]{1,256}")

DTYPE_BYTES: Final[Mapping[str, int]] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor as the header declares it; offsets count from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def _invalid(message: str) -> ModelRefused:
    return ModelRefused("invalid_safetensors", message)


def _is_count(value: Any) -> bool:
    # A boolean is an int to Python.
    return type(value) is int and 0 <= value <= MAX_ELEMENTS


def _elements(shape: list[int], name: str) -> int:
    elements = 1
    for size in shape:
        elements *= size
        # Looked at in every step: a later zero must not hide an overflow that other readers trip over.
        if elements > MAX_ELEMENTS:
            raise _invalid(f"tensor {name}: its shape {shape} is too large")
    return elements


def _tensor(name: str, value: Any) -> Tensor:
    if _NAME.fullmatch(name) is None:
        raise _invalid(f"a tensor's name is not 1 to 256 printable ASCII characters: {name[:64]!a}")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _invalid(f"tensor {name}: needs dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise _invalid(f"tensor {name}: unknown dtype {ascii(dtype)[:40]}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_count, shape)):
        raise _invalid(f"tensor {name}: its shape is not up to {MAX_DIMENSIONS} sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise _invalid(f"tensor {name}: its data_offsets are not two positions")
    start, end = offsets
    if end - start != _elements(shape, name) * DTYPE_BYTES[dtype]:
        raise _invalid(f"tensor {name}: data_offsets {offsets} do not hold {dtype} of shape {shape}")
    return Tensor(name=name, dtype=dtype, shape=tuple(shape), start=start, end=end)


def _check_metadata(value: Any) -> None:
    if not isinstance(value, dict) or len(value) > MAX_METADATA:
        raise _invalid(f"{_METADATA} is not an object of up to {MAX_METADATA} members")
    for key, text in value.items():
        if not isinstance(text, str) or strict_json.lone_surrogate(key + text) is not None:
            raise _invalid(f"{_METADATA}: {key[:64]!a} is not text")


def _check_tiling(tensors: list[Tensor], data_bytes: int) -> None:
    position = 0
    for tensor in sorted(tensors, key=lambda each: (each.start, each.end)):
        if tensor.start != position:
            said = "overlaps another" if tensor.start < position else "leaves a gap before it"
            raise _invalid(f"tensor {tensor.name}: {said} at byte {tensor.start}")
        position = tensor.end
    if position > data_bytes:
        raise _invalid(f"the file is cut short: its tensors need {position} bytes, it has {data_bytes}")
    if position < data_bytes:
        raise _invalid(f"{data_bytes - position} bytes follow the last tensor")


def _parse(raw: bytes) -> dict[str, Any]:
    # Objects are recognised by their first byte, so that other files are refused before they are parsed.
    if raw[:1] != b"{":
        raise _invalid("the file is not safetensors: its header is not a JSON object")
    if any(raw.count(each) > limit for each, limit in _MAX_STRUCTURE.items()):
        raise _invalid(f"the header describes more than {MAX_TENSORS} tensors")
    try:
        # A text that begins with a brace is an object or an error.
        parsed: dict[str, Any] = strict_json.parse(raw.decode())
    except UnicodeDecodeError:
        raise _invalid("the header is not UTF-8") from None
    except strict_json.StrictJsonError as error:
        raise _invalid(f"the header {error.reason}") from None
    return parsed


def read_header(stream: BinaryIO, size_bytes: int) -> tuple[Tensor, ...]:
    """The tensors of a safetensors file of ``size_bytes`` that ``stream`` stands at the beginning of.

    Reads the header and no more; allocates nothing that the file's first eight bytes have not justified.

    Raises:
        ModelRefused: ``invalid_safetensors``.
    """
    prefix = stream.read(8)
    if len(prefix) < 8:
        raise _invalid("the file is too short to be safetensors")
    length = int.from_bytes(prefix, "little")
    if prefix[:1] == b"\x80" and prefix[1] <= 5 and length > MAX_HEADER_BYTES:
        raise _invalid("the file is a pickle, which can run code, not safetensors")
    if length > MAX_HEADER_BYTES:
        raise _invalid(f"its header claims {length} bytes, the limit is {MAX_HEADER_BYTES}")
    if length > size_bytes - 8:
        raise _invalid(f"the file is cut short: its header claims {length} bytes, {size_bytes - 8} follow")
    raw = stream.read(length)
    if len(raw) != length:
        raise _invalid("the file is cut short in its header")
    members = _parse(raw)
    _check_metadata(members.pop(_METADATA, {}))
    if len(members) > MAX_TENSORS:
        raise _invalid(f"it has {len(members)} tensors, the limit is {MAX_TENSORS}")
    tensors = [_tensor(name, value) for name, value in members.items()]
    _check_tiling(tensors, size_bytes - 8 - length)
    return tuple(tensors)


def read_file_header(path: Path) -> tuple[Tensor, ...]:
    """:func:`read_header` of a local file.

    Raises:
        ModelRefused: ``invalid_safetensors``, naming the file.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return read_header(stream, path.stat().st_size)
    except ModelRefused as error:
        raise ModelRefused(error.code, error.message, file=path.name) from None
