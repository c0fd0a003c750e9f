"""The JSON files of a model directory: bounded, strict, and without any word that makes a loader run code."""

from pathlib import Path
from typing import Any
from typing import Final

from deploy.contract import strict_json
from deploy.contract.weights.error import ModelRefused

MAX_CONFIG_BYTES: Final = 1 << 20
"""The largest known configs, with thousands of labels, have some 100 kB."""
MAX_TOKENIZER_BYTES: Final = 64 << 20
"""Gemma's tokenizer.json, the largest known, has 33 MB."""
MAX_INDEX_BYTES: Final = 64 << 20
"""One name and one shard per tensor; 200 bytes for each of 300,000 tensors."""
MAX_NESTING: Final = 32
"""Deep enough for every known file; a loader that recurses is never led further."""

_CODE_WORDS: Final = frozenset(
    {"auto_map", "custom_pipelines", "trust_remote_code", "code_revision", "use_kernels", "kernel_config"}
)
_CODE_PARTS: Final = ("attn_implementation", "experts_implementation")
"""May name a repository of kernels, which is then downloaded and imported."""


def _check_depth(value: dict[str, Any] | list[Any], file: str, depth: int = 1) -> None:
    if depth > MAX_NESTING:
        raise ModelRefused("invalid_json", f"is nested more than {MAX_NESTING} levels deep", file=file)
    for member in value.values() if isinstance(value, dict) else value:
        if isinstance(member, (dict, list)):
            _check_depth(member, file, depth + 1)


def _check_words(value: Any, path: str, file: str) -> None:
    if isinstance(value, dict):
        for key, member in value.items():
            if key in _CODE_WORDS or any(part in key for part in _CODE_PARTS):
                message = f"{path}{key[:64]} makes a loader run code from elsewhere; remove it"
                raise ModelRefused("remote_code", message, file=file)
            _check_words(member, f"{path}{key[:64]}.", file)
    elif isinstance(value, list):
        for member in value:
            _check_words(member, path, file)


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


def read_object(path: Path, limit_bytes: int, *, words: bool = True) -> dict[str, Any]:
    """The JSON object in a file. ``words`` looks for members that make a loader run code.

    Raises:
        ModelRefused: ``invalid_json``, ``file_too_large``, ``remote_code``.
    """
    try:
        value = strict_json.parse(read_text(path, limit_bytes))
    except strict_json.StrictJsonError as error:
        raise ModelRefused("invalid_json", error.reason, file=path.name) from None
    if not isinstance(value, dict):
        raise ModelRefused("invalid_json", "must be a JSON object", file=path.name)
    _check_depth(value, path.name)
    if words:
        _check_words(value, "", path.name)
    return value
