"""Which files a model directory may hold. Everything that is not listed is refused by name, unread."""

import re
from collections.abc import Iterable
from typing import Final

from deploy.contract.weights.error import ModelRefused

CONFIG: Final = "config.json"
GENERATION_CONFIG: Final = "generation_config.json"
INDEX: Final = "model.safetensors.index.json"
SINGLE_WEIGHTS: Final = "model.safetensors"
MAX_FILES: Final = 2000
"""Shards of 5 GB each: ten terabytes. The same bound as in the job spec."""

CONFIG_FILES: Final = frozenset({CONFIG, GENERATION_CONFIG})
TOKENIZER_JSON_FILES: Final = frozenset(
    {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
    }
)
TOKENIZER_TEXT_FILES: Final = frozenset({"merges.txt", "vocab.txt"})
SENTENCEPIECE_FILES: Final = frozenset({"spiece.model", "tokenizer.model", "sentencepiece.bpe.model"})
CHAT_TEMPLATE: Final = "chat_template.jinja"
"""Is dropped unread: a template is a program, and models are asked in the form that they were trained on."""
PLAIN_FILES: Final = frozenset({"README.md", "LICENSE", "LICENSE.txt", "LICENSE.md"})
"""May lie there and are kept as they are; no loader reads them."""
EVIDENCE_FILES: Final = frozenset({"mlbom.cdx.json", "provenance.dsse.json", "report.json", "model.sig"})
"""Lie beside the weights of a hardened model; no loader reads them."""
_NAMED: Final = (
    CONFIG_FILES
    | TOKENIZER_JSON_FILES
    | TOKENIZER_TEXT_FILES
    | SENTENCEPIECE_FILES
    | PLAIN_FILES
    | {INDEX, CHAT_TEMPLATE}
)

_PICKLE: Final = "pickle can run code; convert the weights to safetensors"
_CODE: Final = "code is never loaded from a model directory"
_ARCHIVE: Final = "archives are not unpacked; upload the files one by one"
_OTHER_WEIGHTS: Final = "weights are taken as safetensors only"
_REASONS: Final = {
    **dict.fromkeys(("bin", "pt", "pth", "pkl", "pickle", "ckpt", "joblib", "npy", "npz"), _PICKLE),
    **dict.fromkeys(("py", "pyc", "pyd", "so", "dll", "sh", "ipynb"), _CODE),
    **dict.fromkeys(("zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "nemo", "whl"), _ARCHIVE),
    **dict.fromkeys(
        ("msgpack", "h5", "hdf5", "gguf", "ggml", "onnx", "pb", "tflite", "ot", "mlmodel"), _OTHER_WEIGHTS
    ),
}
_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_weights(name: str) -> bool:
    """Whether an allowed name is one of weights."""
    return name.endswith(".safetensors")


def check_name(name: str) -> None:
    """Refuse a file by its name, before any byte of it is taken.

    Raises:
        ModelRefused: ``file_not_allowed``, with the reason and what to do.
    """
    shown = name if _FORM.fullmatch(name) else ascii(name[:64])
    if _FORM.fullmatch(name) is None:
        message = (
            "a file's name has 1 to 128 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit"
        )
        raise ModelRefused("file_not_allowed", message, file=shown)
    if name in _NAMED:
        return
    # Every part counts: model.bin.safetensors is no better than model.bin.
    for part in name.lower().split(".")[1:]:
        if part in _REASONS:
            raise ModelRefused("file_not_allowed", _REASONS[part], file=shown)
    if not is_weights(name):
        message = "is none of the files a model directory may hold"
        raise ModelRefused("file_not_allowed", message, file=shown)


def check_names(names: Iterable[str]) -> None:
    """Refuse a set of names that cannot make a directory everywhere.

    Raises:
        ModelRefused: one is not allowed, there are too many, or two differ only by case.
    """
    seen: dict[str, str] = {}
    for name in names:
        check_name(name)
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ModelRefused("file_not_allowed", f"differs from {other} by case only", file=name)
        if len(seen) > MAX_FILES:
            raise ModelRefused("too_many_files", f"there are more than {MAX_FILES} files")
