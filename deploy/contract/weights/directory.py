"""A model directory as anybody may upload it: the one check between a stranger's files and a loader."""

import hashlib
import os
from collections.abc import Collection
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.document import StoredFile
from deploy.contract.weights.config import Architecture
from deploy.contract.weights.config import check_config
from deploy.contract.weights.document import MAX_CONFIG_BYTES
from deploy.contract.weights.document import MAX_INDEX_BYTES
from deploy.contract.weights.document import read_object
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.header import Tensor
from deploy.contract.weights.header import read_file_header
from deploy.contract.weights.names import CONFIG
from deploy.contract.weights.names import CONFIG_FILES
from deploy.contract.weights.names import INDEX
from deploy.contract.weights.names import MAX_FILES
from deploy.contract.weights.names import SINGLE_WEIGHTS
from deploy.contract.weights.names import check_names
from deploy.contract.weights.names import is_weights
from deploy.contract.weights.shapes import check_shapes
from deploy.contract.weights.tokenizer import check_tokenizer


class ModelDirectory(Document):
    """A model that may be loaded."""

    architecture: Architecture
    model_type: str
    vocab_size: Annotated[int, Field(ge=1)]
    parameters: Annotated[int, Field(ge=1)]
    """Number of weights in the files; tied ones that are stored once count once."""
    files: Annotated[tuple[StoredFile, ...], Field(min_length=1, max_length=MAX_FILES)]
    """In order of their names."""


def _names(directory: Path) -> list[str]:
    """Names of the plain files; anything else in the directory is refused."""
    names = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
                kind = "a symbolic link" if entry.is_symlink() else "not a file"
                message = f"is {kind}; a model directory holds plain files only"
                raise ModelRefused("not_a_plain_file", message, file=ascii(entry.name)[1:-1][:128])
            names.append(entry.name)
            if len(names) > MAX_FILES:
                raise ModelRefused("too_many_files", f"there are more than {MAX_FILES} files")
    return sorted(names)


def _weight_map(directory: Path) -> dict[str, str]:
    weight_map = read_object(directory / INDEX, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelRefused("shards_mismatch", "has no weight_map", file=INDEX)
    for shard in weight_map.values():
        if not isinstance(shard, str):
            raise ModelRefused("shards_mismatch", "a tensor's shard is not a name", file=INDEX)
    return weight_map


def _check_shards(weight_map: Mapping[str, str], headers: Mapping[str, tuple[Tensor, ...]]) -> None:
    named = set(weight_map.values())
    for shard in sorted(named - set(headers)):
        shown = ascii(shard)[1:-1][:128]
        raise ModelRefused("shards_mismatch", f"names the shard {shown}, which is not there", file=INDEX)
    for shard in sorted(set(headers) - named):
        raise ModelRefused("shards_mismatch", f"is not named in {INDEX}", file=shard)
    held = {(tensor.name, shard) for shard, tensors in headers.items() for tensor in tensors}
    for name, shard in sorted(weight_map.items() - held):
        raise ModelRefused("shards_mismatch", f"lacks the tensor {ascii(name)[1:-1][:128]}", file=shard)
    for name, shard in sorted(held - weight_map.items()):
        raise ModelRefused(
            "shards_mismatch", f"holds the tensor {name}, which {INDEX} does not place there", file=shard
        )


def _check_weights(directory: Path, names: Collection[str]) -> dict[str, tuple[Tensor, ...]]:
    """Check all headers against each other; returns the tensors of each file."""
    weights = [name for name in names if is_weights(name)]
    if not weights:
        raise ModelRefused("missing_weights", "there are no weights: no file ends in .safetensors")
    headers = {name: read_file_header(directory / name) for name in weights}
    if INDEX in names:
        _check_shards(_weight_map(directory), headers)
    elif weights != [SINGLE_WEIGHTS]:
        extra = next(name for name in weights if name != SINGLE_WEIGHTS)
        message = f"weights in other files than {SINGLE_WEIGHTS} need {INDEX}"
        raise ModelRefused("shards_mismatch", message, file=extra)
    return headers


def _stored_file(directory: Path, name: str) -> StoredFile:
    with (directory / name).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return StoredFile(name=name, size_bytes=stream.tell(), sha256=digest)


def check_directory(path: Path) -> ModelDirectory:
    """Check a local directory; nothing in it is executed and no weight is loaded.

    Reads the small files and the headers, then every byte once for its hash.

    Raises:
        ModelRefused: the first thing that is wrong.
        OSError: the directory cannot be read.
    """
    names = _names(path)
    check_names(names)
    if CONFIG not in names:
        raise ModelRefused("missing_config", "there is no config.json")
    document = read_object(path / CONFIG, MAX_CONFIG_BYTES)
    config = check_config(document)
    for name in sorted(CONFIG_FILES - {CONFIG}):
        if name in names:
            read_object(path / name, MAX_CONFIG_BYTES)
    headers = _check_weights(path, names)
    parameters = sum(tensor.elements for tensors in headers.values() for tensor in tensors)
    if parameters < config.least_parameters:
        message = f"describes at least {config.least_parameters} weights, the files hold {parameters}"
        raise ModelRefused("config_mismatch", message, file=CONFIG)
    for file, tensors in headers.items():
        check_shapes(document, tensors, file=file)
    check_tokenizer(path, names)
    return ModelDirectory(
        architecture=config.architecture,
        model_type=config.model_type,
        vocab_size=config.vocab_size,
        parameters=parameters,
        files=tuple(_stored_file(path, name) for name in names),
    )
