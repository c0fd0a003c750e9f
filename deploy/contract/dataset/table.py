"""Rows of a CSV file: comma-separated, a header, quotes doubled, line breaks within quotes allowed."""

import csv
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Final

from deploy.contract.dataset.columns import choose_columns
from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.lines import decode_line
from deploy.contract.dataset.lines import read_lines
from deploy.contract.dataset.row import MAX_RECORD_BYTES
from deploy.contract.dataset.row import Row
from deploy.contract.dataset.row import check_row_count
from deploy.contract.dataset.row import checked_text
from deploy.contract.dataset.row import make_row
from deploy.contract.dataset.sniff import text_kind

MAX_COLUMNS: Final = 1000
"""A record of one MiB could have a million; a table that people write has far fewer."""


class _Record:
    """Feeds lines to the csv module and knows where the record in work began and how long it is."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._lines = read_lines(chunks)
        self.number = 0
        """Of the data record in work, the header being 0; blank lines do not count."""
        self.read = 0
        """Records so far, blank lines included."""
        self.line = 1
        self._size_bytes = 0
        self._last_line = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self._size_bytes += len(line)
            if self._size_bytes > MAX_RECORD_BYTES:
                reason = f"is longer than {MAX_RECORD_BYTES} bytes; is a quotation mark left open?"
                raise DatasetError("row_too_long", reason, row=self.number or None, line=self.line)
            self._last_line = number
            yield decode_line(number, line)

    def begin_next(self, *, blank: bool) -> None:
        self.number += 0 if blank else 1
        self.read += 1
        self.line = self._last_line + 1
        self._size_bytes = 0


def _records(record: _Record) -> Iterator[list[str]]:
    # The csv module's own limit is for the whole process and lower than ours; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
    reader = csv.reader(iter(record), strict=True)
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise _csv_error(error, record) from None
        if fields is None:
            return
        check_row_count(record.read)
        blank = not fields or (len(fields) == 1 and fields[0].isspace())
        if not blank:
            yield fields
        record.begin_next(blank=blank)


def _csv_error(error: csv.Error, record: _Record) -> DatasetError:
    row, line = record.number or None, record.line
    if "unexpected end of data" in str(error):
        reason = "the file ends in the middle of this record: a quotation mark is left open"
        return DatasetError("incomplete_record", reason, row=row, line=line)
    if "new-line character" in str(error):
        reason = "holds a carriage return outside quotes; end lines with LF or CRLF"
        return DatasetError("invalid_csv", reason, row=row, line=line)
    return DatasetError("invalid_csv", f"is not valid CSV: {error}", row=row, line=line)


def _header(records: Iterator[list[str]]) -> list[str] | None:
    names = next(records, None)
    if names is not None and len(names) > MAX_COLUMNS:
        raise DatasetError("invalid_csv", f"the header has {len(names)} columns, the limit is {MAX_COLUMNS}")
    return names


def _refuse_other_text(names: list[str]) -> None:
    """Say what a file without our columns seems to be, when that is plain from its first line."""
    kind = text_kind(",".join(names))
    if kind is not None and kind != "CSV":
        raise DatasetError("wrong_format", f"the file is not comma-separated, it seems to be {kind}")


def read_csv(chunks: Iterable[bytes], *, prompt_column: str, completion_column: str) -> Iterator[Row]:
    """Rows in order; text is kept as it is, line breaks included. Blank lines are passed over.

    Raises:
        DatasetError: at the first record that is not a row.
    """
    record = _Record(chunks)
    records = _records(record)
    names = _header(records)
    if names is None:
        return
    try:
        prompt_at, completion_at = choose_columns(names, prompt_column, completion_column)
    except DatasetError:
        _refuse_other_text(names)
        raise
    for fields in records:
        number, line = record.number, record.line
        if len(fields) != len(names):
            reason = f"has {len(fields)} fields, the header has {len(names)}"
            raise DatasetError("missing_field", reason, row=number, line=line)
        prompt = checked_text(fields[prompt_at], row=number, line=line, field=names[prompt_at])
        completion = checked_text(fields[completion_at], row=number, line=line, field=names[completion_at])
        yield make_row(number=number, line=line, prompt=prompt, completion=completion)
