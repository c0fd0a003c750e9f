"""A model directory as anybody may upload it: the one check between a stranger's files and a loader."""

import hashlib
import os
from collections.abc import Collection
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Final

from pydantic import Field

from deploy.contract.document import Document
from deploy.contract.document import StoredFile
from deploy.contract.document import sha256_hex
from deploy.contract.weights.config import ModelConfig
from deploy.contract.weights.config import check_config
from deploy.contract.weights.document import MAX_CONFIG_BYTES
from deploy.contract.weights.document import MAX_DROPPED
from deploy.contract.weights.document import MAX_INDEX_BYTES
from deploy.contract.weights.document import read_object
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.families import Architecture
from deploy.contract.weights.header import Tensor
from deploy.contract.weights.header import read_file_header
from deploy.contract.weights.names import CHAT_TEMPLATE
from deploy.contract.weights.names import CONFIG
from deploy.contract.weights.names import INDEX
from deploy.contract.weights.names import MAX_FILES
from deploy.contract.weights.names import SINGLE_WEIGHTS
from deploy.contract.weights.names import check_names
from deploy.contract.weights.names import is_weights
from deploy.contract.weights.rewriting import Rewriting
from deploy.contract.weights.rewriting import put_rewriting
from deploy.contract.weights.rewriting import rewriting_of
from deploy.contract.weights.rewriting import weight_map_of
from deploy.contract.weights.shapes import check_shapes
from deploy.contract.weights.values import FileValues


class ModelDirectory(Document):
    """A model that may be loaded."""

    architecture: Architecture
    model_type: str
    vocab_size: Annotated[int, Field(ge=1)]
    parameters: Annotated[int, Field(ge=1)]
    """Number of weights in the files; tied ones that are stored once count once."""
    files: Annotated[tuple[StoredFile, ...], Field(min_length=1, max_length=MAX_FILES)]
    """As they came, in order of their names."""
    rewritten: Annotated[tuple[StoredFile, ...], Field(max_length=MAX_FILES)] = ()
    """Those that a loader gets instead of what came under the same names."""
    dropped: Annotated[tuple[str, ...], Field(max_length=MAX_DROPPED + 1)] = ()
    """What of the files was not taken: ``file: member``, or a file's name."""

    @property
    def loadable(self) -> tuple[StoredFile, ...]:
        """What a loader gets, in order of the names: the weights as they came, the rest as it was written anew."""
        taken = {file.name: file for file in self.files if file.name != CHAT_TEMPLATE}
        taken |= {file.name: file for file in self.rewritten}
        return tuple(taken[name] for name in sorted(taken))


_CHUNK_BYTES: Final = 1 << 20
MAX_NAMED: Final = 5
"""Tensors of one file that a refusal names."""


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
        _check_shards(weight_map_of(read_object(directory / INDEX, MAX_INDEX_BYTES)), headers)
    elif weights != [SINGLE_WEIGHTS]:
        extra = next(name for name in weights if name != SINGLE_WEIGHTS)
        message = f"weights in other files than {SINGLE_WEIGHTS} need {INDEX}"
        raise ModelRefused("shards_mismatch", message, file=extra)
    return headers


def _scanned_file(path: Path, values: FileValues | None) -> StoredFile:
    """Read a file once, for its hash and, where it holds weights, for its values."""
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
            if values is not None:
                values.add(chunk)
    return StoredFile(name=path.name, size_bytes=size_bytes, sha256=digest.hexdigest())


def _check_files(
    directory: Path, names: Collection[str], headers: Mapping[str, tuple[Tensor, ...]]
) -> tuple[StoredFile, ...]:
    files: list[StoredFile] = []
    for name in names:
        path = directory / name
        values = FileValues(headers[name], path.stat().st_size) if name in headers else None
        files.append(_scanned_file(path, values))
        if values is not None and values.faults:
            message = "; ".join(f"tensor {fault}" for fault in values.faults[:MAX_NAMED])
            raise ModelRefused("invalid_weights", message, file=name)
    return tuple(files)


def _check_described(
    document: Mapping[str, Any], config: ModelConfig, headers: Mapping[str, tuple[Tensor, ...]]
) -> int:
    """Compare the weights with the config; returns how many there are."""
    parameters = sum(tensor.elements for tensors in headers.values() for tensor in tensors)
    if parameters < config.least_parameters:
        message = f"describes at least {config.least_parameters} weights, the files hold {parameters}"
        raise ModelRefused("config_mismatch", message, file=CONFIG)
    check_shapes(document, headers)
    return parameters


def check_directory(path: Path, *, rewritten: Path | None = None) -> ModelDirectory:
    """Check a local directory; nothing in it is executed and no library reads it.

    Reads the small files and the headers, then every byte once for its hash and for the values of the weights. The
    files that a loader may see instead of the small ones are put into ``rewritten``, which may be ``path`` itself.

    Raises:
        ModelRefused: the first thing that is wrong.
        OSError: the directory cannot be read, or ``rewritten`` not be written.
    """
    names = _names(path)
    check_names(names)
    if CONFIG not in names:
        raise ModelRefused("missing_config", "there is no config.json")
    document = read_object(path / CONFIG, MAX_CONFIG_BYTES)
    config = check_config(document)
    parameters = _check_described(document, config, headers := _check_weights(path, names))
    rewriting = Rewriting(files={}, dropped=())
    if config.architecture != "encoder":
        rewriting = rewriting_of(path, names, document)
    files = _check_files(path, names, headers)
    if rewritten is not None:
        put_rewriting(rewritten, rewriting)
        (rewritten / CHAT_TEMPLATE).unlink(missing_ok=True)
    return ModelDirectory(
        architecture=config.architecture,
        model_type=config.model_type,
        vocab_size=config.vocab_size,
        parameters=parameters,
        files=files,
        rewritten=tuple(_described(name, data) for name, data in sorted(rewriting.files.items())),
        dropped=rewriting.dropped,
    )


def _described(name: str, data: bytes) -> StoredFile:
    return StoredFile(name=name, size_bytes=len(data), sha256=sha256_hex(data))
