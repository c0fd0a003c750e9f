"""Which two columns of a table are the prompt and the completion."""

from collections.abc import Sequence
from typing import Final

from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.error import shown

PROMPT_COLUMN: Final = "src"
COMPLETION_COLUMN: Final = "tgt"
MAX_COLUMN_NAME: Final = 128
"""Characters; a name goes into messages and onto a command line."""


def check_column_names(prompt_column: str, completion_column: str) -> None:
    """Refuse names that no table could have.

    Raises:
        DatasetError: empty, too long, not printable, or both the same.
    """
    for field, name in (("prompt_column", prompt_column), ("completion_column", completion_column)):
        if not 1 <= len(name) <= MAX_COLUMN_NAME or not name.isprintable():
            reason = f"must have 1 to {MAX_COLUMN_NAME} printable characters"
            raise DatasetError("invalid_column_name", reason, field=field)
    if prompt_column == completion_column:
        reason = f"is {shown(prompt_column)}, the same as the prompt column"
        raise DatasetError("invalid_column_name", reason, field="completion_column")


def choose_columns(names: Sequence[str], prompt_column: str, completion_column: str) -> tuple[int, int]:
    """Positions of the prompt and of the completion.

    The columns asked for; where the default was asked for and is not there, ``prompt`` and
    ``completion`` do as well. Other columns are left alone.

    Raises:
        DatasetError: a column is missing or occurs twice, or the table has chat messages.
    """
    wanted = (prompt_column, completion_column)
    if wanted == (PROMPT_COLUMN, COMPLETION_COLUMN) and not set(wanted) & set(names):
        if {"prompt", "completion"} <= set(names):
            wanted = ("prompt", "completion")
        elif "messages" in names:
            reason = 'chat messages are read from JSONL only: write one {"messages": [...]} per line'
            raise DatasetError("unsupported_column", reason, field="messages")
    for name in wanted:
        if names.count(name) == 0:
            has = ", ".join(shown(each, limit=30) for each in names[:10]) or "none"
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            reason = f"the file has no such column; its columns are {has}{more}"
            raise DatasetError("missing_column", reason, field=name)
        if names.count(name) > 1:
            raise DatasetError("duplicate_column", "the file has this column more than once", field=name)
    return names.index(wanted[0]), names.index(wanted[1])
