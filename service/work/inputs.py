"""Checks a dataset that something starts from, before anything is computed."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy.contract import layout
from deploy.contract.dataset import DatasetError
from deploy.contract.dataset.validation import DatasetSummary
from deploy.contract.document import StoredFile
from deploy.contract.intake_child import IntakeChildFailed
from deploy.contract.spec import DatasetRef
from deploy.store.protocol import ObjectCorrupt
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from service.tables import FileRow

Validate = Callable[..., DatasetSummary]
"""As :func:`deploy.contract.dataset.validation.validate_in_child`."""


class BadInputs(Exception):  # noqa: N818 - the user's, not an error of ours
    """A job or scan cannot start; says why and names the request's field."""

    def __init__(self, code: str, message: str, param: str | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


class InputsUnavailable(Exception):  # noqa: N818
    """They could not be checked now; trying again later may work."""


def check_dataset(
    store: ObjectStore,
    file: FileRow,
    *,
    prompt_column: str,
    completion_column: str,
    param: str,
    validate: Validate,
) -> DatasetRef:
    """Read a file to its end, in a child process.

    Args:
        store: where its content lies.
        file: its row.
        prompt_column: of CSV and Parquet.
        completion_column: likewise.
        param: the request's field that names it.
        validate: the real one starts a child process.

    Raises:
        BadInputs: the user has to change something.
        InputsUnavailable: this machine failed.
        StoreError: the store failed.
    """
    key = layout.file_key(file.id)
    directory = Path(tempfile.mkdtemp(prefix="temper-intake-"))
    try:
        path = directory / "dataset"
        expected = StoredFile(name=file.id, size_bytes=file.bytes, sha256=file.sha256)
        store.fetch_file(key, path, expected)
        summary = validate(
            path, file.filename, prompt_column=prompt_column, completion_column=completion_column
        )
    except DatasetError as error:
        raise BadInputs("invalid_dataset", f"{file.filename}: {error}", param) from error
    except ObjectMissing as error:
        raise BadInputs("file_not_found", f"The content of {file.id} is gone.", param) from error
    except ObjectCorrupt as error:
        raise BadInputs(
            "file_corrupt", f"The content of {file.id} is not what was uploaded.", param
        ) from error
    except (IntakeChildFailed, OSError) as error:
        raise InputsUnavailable(f"{file.id}: {error}") from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return DatasetRef(
        key=key,
        filename=file.filename,
        size_bytes=summary.size_bytes,
        sha256=summary.sha256,
        format=summary.format,
        prompt_column=prompt_column,
        completion_column=completion_column,
        rows=summary.rows,
    )
