"""The JSON files of a model directory: bounded and strict to read, and written anew from what is known of them."""

import json
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Final

from deploy.contract import strict_json
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.error import ModelRefusedCode
from deploy.contract.weights.kinds import Kind

MAX_CONFIG_BYTES: Final = 1 << 20
"""The largest known configs, with thousands of labels, have some 100 kB."""
MAX_TOKENIZER_BYTES: Final = 64 << 20
"""Gemma's tokenizer.json, the largest known, has 33 MB."""
MAX_INDEX_BYTES: Final = 64 << 20
"""One name and one shard per tensor; 200 bytes for each of 300,000 tensors."""
MAX_NESTING: Final = 32
"""Deep enough for every known file; a loader that recurses is never led further."""
MAX_DROPPED: Final = 200
"""Named of one model; configs of other programs have some dozens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What is taken of one file, and what is not."""

    members: dict[str, Any]
    dropped: tuple[str, ...] = ()
    """``file: member``, for the user."""


def _check_depth(value: dict[str, Any] | list[Any], file: str, depth: int = 1) -> None:
    if depth > MAX_NESTING:
        raise ModelRefused("invalid_json", f"is nested more than {MAX_NESTING} levels deep", file=file)
    for member in value.values() if isinstance(value, dict) else value:
        if isinstance(member, (dict, list)):
            _check_depth(member, file, depth + 1)


def read_text(path: Path, limit_bytes: int) -> str:
    """A whole file as text.

    Raises:
        ModelRefused: too large, not UTF-8, NUL characters.
    """
    with path.open("rb") as stream:
        raw = stream.read(limit_bytes + 1)
    if len(raw) > limit_bytes:
        raise ModelRefused("file_too_large", f"is larger than {limit_bytes} bytes", file=path.name)
    if b"\0" in raw:
        raise ModelRefused("invalid_json", "holds NUL bytes", file=path.name)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 (byte {error.start})"
        raise ModelRefused("invalid_json", message, file=path.name) from None


def read_object(path: Path, limit_bytes: int) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelRefused: ``invalid_json``, ``file_too_large``.
    """
    try:
        value = strict_json.parse(read_text(path, limit_bytes))
    except strict_json.StrictJsonError as error:
        raise ModelRefused("invalid_json", error.reason, file=path.name) from None
    if not isinstance(value, dict):
        raise ModelRefused("invalid_json", "must be a JSON object", file=path.name)
    _check_depth(value, path.name)
    return value


def written(value: Mapping[str, Any]) -> bytes:
    """A file that we write: the same members always give the same bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def check_value(value: Any, kind: Kind, path: str, *, code: ModelRefusedCode, file: str) -> None:
    """Refuse a value that is not of its kind; null is "not said".

    Raises:
        ModelRefused: ``code``, naming the member.
    """
    if value is not None and not kind.fits(value):
        raise ModelRefused(code, f"{path} must be {kind}, not {ascii(value)[:40]}", file=file)


def taken_of(
    members: Mapping[str, Any],
    kinds: Mapping[str, Kind],
    *,
    code: ModelRefusedCode,
    file: str,
    path: str = "",
    known: Collection[str] = (),
) -> Rewritten:
    """The members that have a kind, each of which must fit; ``known`` ones are somebody else's, the rest is dropped.

    Raises:
        ModelRefused: ``code``, naming the member.
    """
    taken, dropped = {}, []
    for key, value in members.items():
        if key in kinds:
            check_value(value, kinds[key], f"{path}{key}", code=code, file=file)
            taken[key] = value
        elif key not in known:
            dropped.append(f"{file}: {path}{ascii(key)[1:-1][:64]}")
    return Rewritten(members=taken, dropped=tuple(dropped))
