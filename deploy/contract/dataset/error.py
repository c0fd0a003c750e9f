"""What is wrong with a dataset, said so that its owner finds the place."""

from typing import Literal

DatasetErrorCode = Literal[
    "unsupported_format",  # the file's name has another extension
    "wrong_format",  # the content is something else than the name says
    "invalid_encoding",
    "empty_file",
    "row_too_long",
    "too_many_rows",
    "incomplete_record",  # the file ends in the middle of a record
    "invalid_json",
    "duplicate_key",
    "not_a_number",
    "nested_too_deeply",
    "unknown_field",
    "missing_field",
    "wrong_type",
    "empty_field",
    "null_field",
    "lone_surrogate",
    "nul_character",
    "invalid_messages",
    "invalid_column_name",
    "missing_column",
    "duplicate_column",
    "unsupported_column",
    "invalid_csv",
    "invalid_parquet",
    "resource_limit",  # reading took more memory or time than is allowed
]


class DatasetError(ValueError):
    """A dataset cannot be used.

    ``row`` counts as its owner does (data rows of a CSV or Parquet file, lines of a JSONL file), ``line``
    is where the record begins in a text file, ``field`` the column or JSON path. Any of them may be
    None. ``reason`` continues the sentence, ``code`` is stable.
    """

    def __init__(
        self,
        code: DatasetErrorCode,
        reason: str,
        *,
        row: int | None = None,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        self.code: DatasetErrorCode = code
        self.reason = reason
        self.row = row
        self.line = line
        self.field = field
        super().__init__(str(self))

    def __str__(self) -> str:
        """Like ``row 17 (line 31), field tgt: is empty``."""
        place = [] if self.row is None else [f"row {self.row}"]
        if self.line is not None and self.line != self.row:
            place = [f"row {self.row} (line {self.line})" if place else f"line {self.line}"]
        if self.field is not None:
            place.append(f"field {self.field}")
        return f"{', '.join(place)}: {self.reason}" if place else self.reason


def shown(text: str, *, limit: int = 60) -> str:
    """A piece of the user's text, fit for an error message: short, printable, quoted."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return '"' + "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in cut) + '"'
