"""Rows of a dataset that lies on the local disk, as the spec describes it."""

from pathlib import Path

from deploy.contract.dataset import DatasetError
from deploy.contract.dataset import Row
from deploy.contract.dataset import read_rows
from deploy.contract.exit_codes import ExitCode
from deploy.contract.spec import DatasetRef
from training.errors import InvalidInput


def load_rows(path: Path, described: DatasetRef) -> list[Row]:
    """All rows, checked against the number that was validated.

    Raises:
        InvalidInput: a row is bad after all, or the count differs.
    """
    try:
        rows = list(
            read_rows(
                path,
                format=described.format,
                prompt_column=described.prompt_column,
                completion_column=described.completion_column,
            )
        )
    except DatasetError as error:
        raise InvalidInput(
            ExitCode.INVALID_DATASET, "invalid_dataset", f"{described.filename}: {error}"
        ) from error
    if len(rows) != described.rows:
        raise InvalidInput(
            ExitCode.INPUT_CHANGED,
            "input_changed",
            f"{described.filename} has {len(rows)} rows, {described.rows} were validated",
        )
    return rows
