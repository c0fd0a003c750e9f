"""Reads a dataset to its end, so that nothing is computed on one that cannot be used."""

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from deploy.contract.dataset.columns import COMPLETION_COLUMN
from deploy.contract.dataset.columns import PROMPT_COLUMN
from deploy.contract.dataset.columns import check_column_names
from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.error import DatasetErrorCode
from deploy.contract.dataset.reading import DatasetFormat
from deploy.contract.dataset.reading import format_of
from deploy.contract.dataset.reading import read_rows
from deploy.contract.document import Document
from deploy.contract.document import DocumentError
from deploy.contract.document import Sha256
from deploy.contract.intake_child import IntakeChildFailed
from deploy.contract.intake_child import Limits
from deploy.contract.intake_child import ResourceLimitExceeded
from deploy.contract.intake_child import run_child


class DatasetSummary(Document):
    """A dataset that is good to train on."""

    format: DatasetFormat
    rows: Annotated[int, Field(ge=1)]
    size_bytes: Annotated[int, Field(ge=1)]
    sha256: Sha256


class DatasetRefusal(Document):
    """A :class:`DatasetError` on its way out of the child."""

    code: DatasetErrorCode
    reason: str
    row: int | None = None
    line: int | None = None
    field: str | None = None


class ChildAnswer(Document):
    """The one line that the child prints: exactly one of its members is set."""

    summary: DatasetSummary | None = None
    refusal: DatasetRefusal | None = None


def validate(
    path: Path,
    filename: str,
    *,
    prompt_column: str = PROMPT_COLUMN,
    completion_column: str = COMPLETION_COLUMN,
) -> DatasetSummary:
    """Check every row of a local file; ``filename`` is the user's name for it and tells the format.

    Parquet is decoded by native code that a damaged file can crash: use :func:`validate_in_child` for
    files of unknown origin.

    Raises:
        DatasetError: the first thing that is wrong.
        OSError: the file cannot be read.
    """
    declared = format_of(filename)
    rows = read_rows(path, format=declared, prompt_column=prompt_column, completion_column=completion_column)
    count = sum(1 for _ in rows)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return DatasetSummary(format=declared, rows=count, size_bytes=path.stat().st_size, sha256=digest)


def refusal(error: DatasetError) -> DatasetRefusal:
    """The error as a document."""
    return DatasetRefusal(
        code=error.code, reason=error.reason, row=error.row, line=error.line, field=error.field
    )


def validate_in_child(
    path: Path,
    filename: str,
    *,
    prompt_column: str = PROMPT_COLUMN,
    completion_column: str = COMPLETION_COLUMN,
    limits: Limits | None = None,
) -> DatasetSummary:
    """:func:`validate` in a process of its own under resource limits. Blocks; the file stays.

    Raises:
        DatasetError: the first thing that is wrong, or ``resource_limit``.
        IntakeChildFailed: the platform's fault: the file cannot be read, the child cannot be started.
    """
    declared = format_of(filename)
    check_column_names(prompt_column, completion_column)
    arguments = [
        f"--path={path.absolute()}",
        # The user's own name for the file stays off the command line.
        f"--filename=dataset.{declared}",
        f"--prompt-column={prompt_column}",
        f"--completion-column={completion_column}",
    ]
    try:
        printed = run_child("deploy.contract.dataset", arguments, limits or Limits())
        answer = ChildAnswer.from_bytes(printed)
    except ResourceLimitExceeded as error:
        raise DatasetError("resource_limit", str(error)) from error
    except DocumentError as error:
        raise IntakeChildFailed(str(error)) from error
    if answer.summary is not None:
        return answer.summary
    if answer.refusal is None:
        raise IntakeChildFailed("the child printed an empty answer")
    bad = answer.refusal
    raise DatasetError(bad.code, bad.reason, row=bad.row, line=bad.line, field=bad.field)


def validate_chunks_in_child(
    chunks: Iterable[bytes],
    filename: str,
    *,
    scratch: Path,
    prompt_column: str = PROMPT_COLUMN,
    completion_column: str = COMPLETION_COLUMN,
    limits: Limits | None = None,
) -> DatasetSummary:
    """:func:`validate_in_child` of bytes from elsewhere, like a store.

    They are kept in a temporary file below ``scratch`` (a child that reads has no credentials, and
    Parquet is read from its end), which is gone when this returns or raises.

    Raises:
        DatasetError: as :func:`validate_in_child`; a bad name before a byte is fetched.
        IntakeChildFailed: likewise.
        OSError: the scratch disk is full. Whatever ``chunks`` raises.
    """
    format_of(filename)
    check_column_names(prompt_column, completion_column)
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="dataset-") as copy:
        for chunk in chunks:
            copy.write(chunk)
        copy.flush()
        return validate_in_child(
            Path(copy.name),
            filename,
            prompt_column=prompt_column,
            completion_column=completion_column,
            limits=limits,
        )
