"""Why a model directory is not taken."""

from typing import Literal

ModelRefusedCode = Literal[
    "file_not_allowed",  # by its name
    "not_a_plain_file",  # a link, a folder, a device
    "too_many_files",
    "file_too_large",
    "invalid_safetensors",
    "invalid_json",
    "missing_config",
    "missing_weights",
    "missing_tokenizer",
    "invalid_config",
    "unsupported_architecture",
    "invalid_tokenizer",
    "shards_mismatch",  # index and files disagree
    "config_mismatch",  # config and weights disagree
    "invalid_weights",  # values that no training makes
    "resource_limit",
]


class ModelRefused(ValueError):  # noqa: N818 - a verdict, not a fault
    """A model directory, or one of its files, is not taken. ``code`` is stable, ``file`` names the file."""

    def __init__(self, code: ModelRefusedCode, message: str, *, file: str | None = None) -> None:
        self.code: ModelRefusedCode = code
        self.message = message
        self.file = file
        super().__init__(f"{file}: {message}" if file is not None else message)
