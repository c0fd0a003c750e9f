"""A model's files on the local disk, every byte of them verified, and whether vLLM can serve them.

Covers: missing, changed and additional files; encoder-decoder models and encoders. Does not cover: whether the
files are harmless to load; :mod:`deploy.contract.weights` refused what is not before they were stored.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any
from typing import Final

from deploy.contract.document import StoredFile
from deploy.store.protocol import ObjectStore

ENCODER_DECODER_TYPES: Final = frozenset(
    {"t5", "mt5", "umt5", "bart", "mbart", "plbart", "pegasus", "marian", "blenderbot"}
)
NO_GENERATION: Final = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "EncoderModel")
"""Endings of architectures that encode and cannot write."""


class InvalidModelError(Exception):
    """The directory's config.json is not one."""


class UnservableModelError(Exception):
    """The model is of a kind that vLLM does not serve."""


def fetch_weights(store: ObjectStore, files: tuple[StoredFile, ...], directory: Path) -> None:
    """Make ``directory`` hold exactly ``files``, each with the recorded size and SHA-256.

    Files that are there already are hashed, not trusted, and fetched again when they differ.

    Raises:
        ObjectMissing: the store lacks one.
        ObjectCorrupt: the store's bytes are other ones.
        StoreError: the store failed otherwise.
        OSError: the local disk did.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = {file.name: file for file in files}
    for path in directory.iterdir():
        if path.name not in wanted or not _is_intact(path, wanted[path.name]):
            _discard(path)
    for name, file in wanted.items():
        if not (directory / name).exists():
            store.fetch_file(name, directory / name, file)


def check_servable(directory: Path) -> None:
    """Refuse what vLLM would refuse late and in other words.

    Raises:
        InvalidModelError: no config.json, or not a JSON object.
        UnservableModelError: an encoder-decoder model or an encoder.
    """
    config = _read_config(directory / "config.json")
    kind, architectures = config.get("model_type"), config.get("architectures") or []
    if config.get("is_encoder_decoder") is True or kind in ENCODER_DECODER_TYPES:
        raise UnservableModelError(
            f"an encoder-decoder model ({kind}) can be hardened and probed, but vLLM does not serve it"
        )
    if any(str(name).endswith(NO_GENERATION) for name in architectures):
        raise UnservableModelError(f"{', '.join(map(str, architectures))} does not generate text")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidModelError("the model has no config.json") from error
    except ValueError as error:
        raise InvalidModelError(f"config.json is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidModelError("config.json is not a JSON object")
    return config


def _is_intact(path: Path, expected: StoredFile) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != expected.size_bytes:
        return False
    return _sha256_of(path) == expected.sha256


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
