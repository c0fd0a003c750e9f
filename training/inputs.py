"""A job's inputs: fetched into scratch space, every byte verified, the model directory checked.

Covers: changed bytes, names outside the allow-list, pickle weights, code in a model directory, broken
safetensors. Does not cover: what the weights do once they run; that is what probing measures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.contract.document import StoredFile
from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import DatasetRef
from deploy.contract.spec import JobSpec
from deploy.contract.spec import StoredBaseModel
from deploy.contract.weights import ModelDirectory
from deploy.contract.weights import ModelRefused
from deploy.contract.weights import check_directory
from deploy.store.opening import open_store
from deploy.store.protocol import ObjectStore
from training.errors import InvalidInput
from training.hub import fetch_hub_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Where a job's inputs lie on the local disk."""

    base_dir: Path
    base_model: ModelDirectory
    architecture: Literal["decoder", "encoder-decoder"]
    """Of the base model and so of every arm; an encoder has been refused."""
    training_file: Path
    validation_file: Path | None
    probe_file: Path | None


def fetch_dataset(store: ObjectStore, described: DatasetRef, path: Path) -> Path:
    """Copy a dataset to ``path``, every byte verified. Raises StoreError, OSError."""
    expected = StoredFile(name=path.name, size_bytes=described.size_bytes, sha256=described.sha256)
    store.fetch_file(described.key, path, expected)
    return path


def _fetch_stored_model(model: StoredBaseModel, directory: Path) -> None:
    source = open_store(model.uri)
    for file in model.files:
        source.fetch_file(file.name, directory / file.name, file)


def _fetch_model(spec: JobSpec, directory: Path) -> ModelDirectory:
    directory.mkdir(parents=True, exist_ok=True)
    if isinstance(spec.base_model, StoredBaseModel):
        _fetch_stored_model(spec.base_model, directory)
    else:
        fetch_hub_model(spec.base_model, directory)
    try:
        # What came is replaced, so that no library ever reads it.
        checked = check_directory(directory, rewritten=directory)
    except ModelRefused as error:
        raise InvalidInput(
            ExitCode.INVALID_MODEL, "invalid_model", f"base model refused: {error}", param="model"
        ) from error
    if checked.architecture == "encoder":
        raise InvalidInput(
            ExitCode.UNSUPPORTED,
            "model_unsupported",
            f"{checked.model_type} is an encoder: it writes no completions; use a decoder-only or encoder-decoder model",
            param="model",
        )
    return checked


def base_directory(scratch: Path) -> Path:
    """Where the base model lies in scratch space."""
    return scratch / "models" / "base"


def fetch_base_model(spec: JobSpec, scratch: Path) -> Path:
    """Fetch and verify the base model alone. Returns its directory.

    Raises:
        InvalidInput, PlatformFault, StoreError, OSError: as :func:`fetch_inputs`.
    """
    _fetch_model(spec, base_directory(scratch))
    return base_directory(scratch)


def fetch_inputs(spec: JobSpec, scratch: Path) -> Inputs:
    """Fetch and verify everything.

    Raises:
        InvalidInput: something is not what was validated, or the model is refused.
        PlatformFault: the hub did not answer.
        StoreError, OSError: the store or the disk failed.
    """
    store = open_store(spec.store_uri)
    data = scratch / "data"
    data.mkdir(parents=True, exist_ok=True)

    def fetch_if_named(described: DatasetRef | None, name: str) -> Path | None:
        return None if described is None else fetch_dataset(store, described, data / name)

    base_dir = base_directory(scratch)
    base_model = _fetch_model(spec, base_dir)
    return Inputs(
        base_dir=base_dir,
        base_model=base_model,
        architecture="encoder-decoder" if base_model.architecture == "encoder-decoder" else "decoder",
        training_file=fetch_dataset(store, spec.training_file, data / "training"),
        validation_file=fetch_if_named(spec.validation_file, "validation"),
        probe_file=fetch_if_named(spec.probe_file, "probe"),
    )
