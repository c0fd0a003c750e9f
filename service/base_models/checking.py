"""Whether a base model may be loaded: every check runs in a limited child process, on local files.

Covers: file names, safetensors headers, the values of the weights, config, tokenizer, and the hash of every byte. What
is stored of an upload for others to load are its weights, and new files that the check wrote of the small ones. Does
not cover: hub models, which their job fetches and checks.
"""

import logging
import shutil
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final
from urllib.parse import unquote
from urllib.parse import urlsplit

from deploy.contract.document import StoredFile
from deploy.contract.intake_child import IntakeChildFailed
from deploy.contract.layout import base_model_prefix
from deploy.contract.weights import ModelDirectory
from deploy.contract.weights import ModelRefused
from deploy.contract.weights import check_in_child
from deploy.contract.weights import check_names
from deploy.contract.weights.names import PLAIN_FILES
from deploy.contract.weights.names import is_weights
from deploy.store.opening import open_store
from deploy.store.protocol import InvalidKey
from deploy.store.protocol import ObjectStore
from deploy.store.protocol import StoreError
from service.base_models.repository import BaseModelRepository
from service.base_models.schemas import MANIFEST
from service.base_models.schemas import BaseModelManifest
from service.base_models.schemas import Generative
from service.base_models.schemas import ModelError
from service.base_models.schemas import found_source
from service.context import Context
from service.tables import BaseModelRow

logger = logging.getLogger(__name__)
CHECKING: Final = "checking"
"""Folder of the home that holds copies of models while they are checked; emptied at every start."""
UPLOADED: Final = "uploaded/"
"""Below a base model's prefix: what came of files that nobody may load as they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A base model that may be loaded."""

    uri: str
    directory: ModelDirectory


class Stopping(RuntimeError):  # noqa: N818
    """The process ends before the check did; it is repeated after the next start."""


def submit_check(context: Context, row: BaseModelRow) -> Future[None]:
    """Check a pending base model in the background, one after the other."""
    return context.checks.submit(settle_base_model, context, row)


def settle_base_model(context: Context, row: BaseModelRow) -> None:
    """Check a pending base model, and make it ready or failed.

    Raises:
        StoreError, IntakeChildFailed, OSError: the platform's fault; an upload stays pending.
        Stopping: the service is about to end; the model stays pending.
    """
    try:
        checked = _check(context, row)
        architecture = _generative(checked.directory)
    except ModelRefused as error:
        refusal = ModelError(code=error.code, message=str(error), param=error.file)
        _refuse(context, row, refusal)
        return
    except (StoreError, IntakeChildFailed, OSError) as error:
        logger.warning("base model not checked", extra={"base_model": row.id}, exc_info=True)
        if row.source["type"] == "upload":
            raise
        # Nobody may be waiting: the model itself has to say what happened.
        message = f"It could not be read: {type(error).__name__}. Register it again when it can be."
        _refuse(context, row, ModelError(code="check_failed", message=message))
        return
    _accept(context, row, checked, architecture)


def _generative(directory: ModelDirectory) -> Generative:
    if directory.architecture == "encoder":
        message = f"{directory.model_type} is an encoder: it writes no code, so there is nothing to harden"
        raise ModelRefused("unsupported_architecture", message, file="config.json")
    return directory.architecture


def _check(context: Context, row: BaseModelRow) -> Checked:
    if row.source["type"] == "upload":
        prefix = base_model_prefix(row.stored_as)
        directory = _check_upload(context, prefix, [StoredFile(**file) for file in row.source["files"]])
        return Checked(uri=f"{context.store.uri}/{prefix.rstrip('/')}", directory=directory)
    store = open_store(row.source["uri"])
    if store.uri.startswith("file:"):
        path = Path(unquote(urlsplit(store.uri).path))
        if not path.is_dir():
            raise ModelRefused("missing_config", f"{store.uri} is not a directory")
        return Checked(uri=store.uri, directory=check_in_child(path))
    with _copy(context, store, {name: name for name in _names_of(store)}) as copy:
        return Checked(uri=store.uri, directory=check_in_child(copy))


def _names_of(store: ObjectStore) -> list[str]:
    names = [found.key for found in store.list("")]
    if not names:
        raise ModelRefused("missing_config", f"there is nothing below {store.uri}")
    check_names(names)
    return names


def upload_key(prefix: str, name: str) -> str:
    """Where an uploaded file lies: weights where they are loaded from, what is written anew beside them.

    So a repeated check, and one that was cut, find what was uploaded and never what they wrote.
    """
    return prefix + name if is_weights(name) or name in PLAIN_FILES else f"{prefix}{UPLOADED}{name}"


def _check_upload(context: Context, prefix: str, declared: list[StoredFile]) -> ModelDirectory:
    """Check what was uploaded, and store what may be loaded."""
    keys = {file.name: upload_key(prefix, file.name) for file in declared}
    with _scratch(context) as ours, _copy(context, context.store, keys) as copy:
        directory = check_in_child(copy, rewritten=ours)
        _compare(declared, directory)
        _generative(directory)
        for file in directory.rewritten:
            if context.store.put_file(prefix + file.name, ours / file.name) != file:
                raise StoreError(f"{file.name} is not what was written")
        return directory


@contextmanager
def _copy(context: Context, store: ObjectStore, keys: Mapping[str, str]) -> Iterator[Path]:
    """A local copy of a model's files, by their names."""
    with _scratch(context) as copy:
        for name, key in keys.items():
            with (copy / name).open("wb") as file:
                for chunk in store.read(key):
                    if context.stopping.is_set():
                        raise Stopping("the service ends")
                    file.write(chunk)
        yield copy


@contextmanager
def _scratch(context: Context) -> Iterator[Path]:
    home = context.settings.home / CHECKING
    home.mkdir(parents=True, exist_ok=True)
    directory = Path(mkdtemp(prefix="base-model-", dir=home))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _compare(declared: list[StoredFile], directory: ModelDirectory) -> None:
    found = {file.name: file for file in directory.files}
    for file in declared:
        if found.get(file.name) != file:
            raise StoreError(f"{file.name} is not what was uploaded")


def _accept(context: Context, row: BaseModelRow, checked: Checked, architecture: Generative) -> None:
    directory = checked.directory
    # Whoever starts from a model that lies elsewhere compares what came, and writes its copy anew.
    files = directory.loadable if row.source["type"] == "upload" else directory.files
    manifest = BaseModelManifest(
        uri=checked.uri,
        files=files,
        architecture=architecture,
        parameters=directory.parameters,
        dropped=directory.dropped,
    )
    context.store.put_once(base_model_prefix(row.stored_as) + MANIFEST, manifest.to_bytes())
    with context.database.writing() as session:
        BaseModelRepository(session, row.project).settle(
            row,
            status="ready",
            uri=checked.uri,
            files=[file.model_dump() for file in files],
            source=found_source(row.source, directory.dropped),
            architecture=architecture,
            parameters=directory.parameters,
        )


def _refuse(context: Context, row: BaseModelRow, error: ModelError) -> None:
    with context.database.writing() as session:
        models = BaseModelRepository(session, row.project)
        settled = models.settle(row, status="failed", error=error.model_dump())
    if settled:
        # Bytes that were refused are of no use to anybody.
        context.store.delete_prefix(base_model_prefix(row.stored_as))


def check_source_uri(uri: str, *, local_models: bool) -> str:
    """The canonical form of a source's URI.

    Raises:
        ValueError: it cannot name a model, or it names a local one where that is not allowed.
    """
    if uri.startswith("file:") and not local_models:
        raise ValueError("file:// models are only taken by a service that nobody but this machine reaches")
    try:
        return open_store(uri).uri
    except (StoreError, InvalidKey, ValueError) as error:
        raise ValueError(str(error)) from error
