"""One training example, and the limits every row keeps whatever file it came from."""

from dataclasses import dataclass
from typing import Any
from typing import Final

from deploy.contract.dataset.error import DatasetError
from deploy.contract.strict_json import lone_surrogate

MAX_RECORD_BYTES: Final = 1 << 20
"""Of one record as it lies in the file: a row's text at its limit still fits with most of it escaped."""
MAX_ROW_BYTES: Final = 256 << 10
"""Of prompt and completion together in UTF-8: at two bytes a token, the most tokens a job may be given (131,072)."""
MAX_ROWS: Final = 5_000_000
"""Row numbers and per-row bookkeeping (8 bytes each) of a job stay below 50 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A prompt and the completion that the model is to learn.

    ``number`` counts from 1 as the file's owner does: lines of a JSONL file, data rows (the header not
    counted) of a CSV or Parquet file. ``line`` is where the record begins in a text file.
    """

    number: int
    prompt: str
    completion: str
    line: int | None = None


_TYPE_NAMES: Final = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def checked_text(value: Any, *, row: int, line: int | None, field: str) -> str:
    """``value`` when it is text that a tokenizer can take.

    Raises:
        DatasetError: null, not a string, only white space, a lone surrogate, a NUL character.
    """
    if value is None:
        raise DatasetError("null_field", "is null", row=row, line=line, field=field)
    if not isinstance(value, str):
        kind = _TYPE_NAMES.get(type(value), type(value).__name__)
        raise DatasetError("wrong_type", f"must be a string, not {kind}", row=row, line=line, field=field)
    if not value or value.isspace():
        reason = "is empty" if not value else "holds only white space"
        raise DatasetError("empty_field", reason, row=row, line=line, field=field)
    surrogate = lone_surrogate(value)
    if surrogate is not None:
        reason = f"holds the lone surrogate {surrogate}, which is no character"
        raise DatasetError("lone_surrogate", reason, row=row, line=line, field=field)
    if "\0" in value:
        raise DatasetError("nul_character", "holds a NUL character", row=row, line=line, field=field)
    return value


def make_row(*, number: int, line: int | None, prompt: str, completion: str) -> Row:
    """A row of checked texts.

    Raises:
        DatasetError: prompt and completion together are too long.
    """
    size_bytes = len(prompt.encode()) + len(completion.encode())
    if size_bytes > MAX_ROW_BYTES:
        reason = f"prompt and completion are {size_bytes} bytes together, the limit is {MAX_ROW_BYTES}"
        raise DatasetError("row_too_long", reason, row=number, line=line)
    return Row(number=number, line=line, prompt=prompt, completion=completion)


def check_row_count(number: int) -> None:
    """Stop at the first row too many.

    Raises:
        DatasetError: row ``number`` is beyond the limit.
    """
    if number > MAX_ROWS:
        raise DatasetError("too_many_rows", f"the file has more than {MAX_ROWS} rows", row=number)
