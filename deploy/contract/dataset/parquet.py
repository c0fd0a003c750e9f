"""Rows of a Parquet file, batch by batch.

Covers: files cut short or damaged, columns of another type, row groups too large to hold. Does not
cover: a page that unpacks to far more than its metadata says, and faults inside Arrow's own decoder;
for those the file is validated in a child process under resource limits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import Final

from deploy.contract.dataset.columns import choose_columns
from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.row import Row
from deploy.contract.dataset.row import check_row_count
from deploy.contract.dataset.row import checked_text
from deploy.contract.dataset.row import make_row

BATCH_ROWS: Final = 256
"""Held as Python strings at once."""
MAX_ROW_GROUP_BYTES: Final = 512 << 20
"""Of the two columns, unpacked: Arrow may hold a row group's pages while it is read."""
MAX_METADATA_BYTES: Final = 16 << 20
"""Of the footer, which Arrow unpacks whole before a row is read."""
_MARK: Final = b"PAR1"


def _invalid(reason: str) -> DatasetError:
    return DatasetError("invalid_parquet", reason)


def _check_footer(path: Path) -> None:
    """Bounds that need no decoder: both marks, and the length of the metadata."""
    size_bytes = path.stat().st_size
    if size_bytes < 12:
        raise _invalid("the file is too short to be Parquet")
    with path.open("rb") as stream:
        stream.seek(-8, 2)
        tail = stream.read(8)
    if tail[4:] != _MARK:
        raise DatasetError("incomplete_record", "the file ends before its footer: it was cut short")
    length = int.from_bytes(tail[:4], "little")
    if length > min(MAX_METADATA_BYTES, size_bytes - 12):
        raise _invalid(f"its footer claims {length} bytes")


@contextmanager
def _decoding(number: int | None = None) -> Iterator[None]:
    """Turn what Arrow says of damaged content into a DatasetError."""
    from pyarrow import ArrowException

    try:
        yield
    except UnicodeDecodeError:
        raise DatasetError("invalid_encoding", "is not valid UTF-8", row=number) from None
    except MemoryError:
        raise
    except (ArrowException, OSError, ValueError) as error:
        if isinstance(error, DatasetError) or (isinstance(error, OSError) and error.errno is not None):
            raise  # the second is the disk's fault, not the file's
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DatasetError("invalid_parquet", f"cannot be decoded: {said}", row=number) from None


def _check_schema(source: Any, positions: tuple[int, int]) -> None:
    from pyarrow import types

    for at in positions:
        field = source.schema_arrow.field(at)
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
            raise DatasetError("wrong_type", f"must be a column of strings, not {kind}", field=field.name)


def _check_row_groups(source: Any, names: tuple[str, str]) -> None:
    metadata = source.metadata
    check_row_count(metadata.num_rows)
    for group in range(metadata.num_row_groups):
        columns = metadata.row_group(group)
        size_bytes = sum(
            column.total_uncompressed_size
            for column in (columns.column(at) for at in range(columns.num_columns))
            if column.path_in_schema in names
        )
        if size_bytes > MAX_ROW_GROUP_BYTES:
            reason = (
                f"row group {group + 1} is {size_bytes} bytes unpacked, the limit is {MAX_ROW_GROUP_BYTES}"
            )
            raise DatasetError("row_too_long", f"{reason}: write smaller row groups")


def _open(path: Path, prompt_column: str, completion_column: str) -> tuple[Any, tuple[str, str]]:
    from pyarrow.parquet import ParquetFile

    _check_footer(path)
    with _decoding():
        source = ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=1 << 20)
        names = source.schema_arrow.names
        positions = choose_columns(names, prompt_column, completion_column)
        _check_schema(source, positions)
        chosen = (names[positions[0]], names[positions[1]])
        _check_row_groups(source, chosen)
    return source, chosen


def _batches(source: Any, names: tuple[str, str]) -> Iterator[Any]:
    batches = source.iter_batches(batch_size=BATCH_ROWS, columns=list(names), use_threads=False)
    while True:
        with _decoding():
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def read_parquet(path: Path, *, prompt_column: str, completion_column: str) -> Iterator[Row]:
    """Rows in order.

    Raises:
        DatasetError: the file is damaged, lacks a column, or at the first row that is not one.
    """
    source, names = _open(path, prompt_column, completion_column)
    number = 0
    with source:
        for batch in _batches(source, names):
            for at in range(batch.num_rows):
                number += 1
                check_row_count(number)
                with _decoding(number):
                    values = [batch.column(name)[at].as_py() for name in names]
                prompt, completion = (
                    checked_text(value, row=number, line=None, field=name)
                    for name, value in zip(names, values, strict=True)
                )
                yield make_row(number=number, line=None, prompt=prompt, completion=completion)
