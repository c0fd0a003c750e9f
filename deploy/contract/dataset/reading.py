"""Rows of a dataset, whatever its format: the one way in, for validation and for training."""

import itertools
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from typing import Literal
from typing import get_args

from deploy.contract.dataset.columns import COMPLETION_COLUMN
from deploy.contract.dataset.columns import PROMPT_COLUMN
from deploy.contract.dataset.columns import check_column_names
from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.jsonl import read_jsonl
from deploy.contract.dataset.lines import read_chunks
from deploy.contract.dataset.parquet import read_parquet
from deploy.contract.dataset.row import Row
from deploy.contract.dataset.sniff import HEAD_BYTES
from deploy.contract.dataset.sniff import binary_kind
from deploy.contract.dataset.sniff import first_line
from deploy.contract.dataset.sniff import foreign_encoding
from deploy.contract.dataset.sniff import is_parquet
from deploy.contract.dataset.sniff import text_kind
from deploy.contract.dataset.table import read_csv

DatasetFormat = Literal["jsonl", "csv", "parquet"]
_FORMATS: Final[tuple[DatasetFormat, ...]] = get_args(DatasetFormat)


def format_of(filename: str) -> DatasetFormat:
    """The format that a file's name declares by its extension, in any case.

    Raises:
        DatasetError: the extension is none of ``.jsonl``, ``.csv``, ``.parquet``.
    """
    for each in _FORMATS:
        if filename.lower().endswith(f".{each}"):
            return each
    raise DatasetError("unsupported_format", "the file's name must end in .jsonl, .csv or .parquet")


def _peek(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, and all of them."""
    rest = iter(chunks)
    head = b""
    for chunk in rest:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    return head, itertools.chain((head,), rest)


def _other_kind(head: bytes, declared: DatasetFormat) -> str | None:
    """What the file seems to be when it cannot be what its name declares."""
    if is_parquet(head):
        return None if declared == "parquet" else "Parquet: name it .parquet"
    kind = binary_kind(head)
    if kind is not None or declared == "jsonl":
        return kind  # what else text may be is told where its first line fails to parse
    line = first_line(head)
    if declared == "csv":
        # Other text has a header of one column that is not ours, and is told there.
        return text_kind(line) if line[:1] in {"{", "[", "<"} else None
    return text_kind(line) or "something else"


def _check_head(head: bytes, declared: DatasetFormat) -> None:
    if not head:
        raise DatasetError("empty_file", "the file is empty")
    encoding = foreign_encoding(head)
    if encoding is not None:
        raise DatasetError("invalid_encoding", f"the file seems to be {encoding}: save it as UTF-8")
    kind = _other_kind(head, declared)
    if kind is not None:
        raise DatasetError("wrong_format", f"the file is named .{declared}, it seems to be {kind}")


def _nothing(head: bytes, declared: DatasetFormat) -> DatasetError:
    if declared != "parquet" and not head.removeprefix(b"\xef\xbb\xbf").strip():
        return DatasetError("empty_file", "the file holds only white space")
    return DatasetError("empty_file", "the file has no rows")


def read_rows(
    source: Path | Iterable[bytes],
    *,
    format: DatasetFormat,
    prompt_column: str = PROMPT_COLUMN,
    completion_column: str = COMPLETION_COLUMN,
) -> Iterator[Row]:
    """Rows of a dataset in order, in flat memory.

    Args:
        source: a local file, or its bytes piece by piece (text formats only).
        format: as declared by the file's name, see :func:`format_of`.
        prompt_column: of CSV and Parquet; JSONL has its own names.
        completion_column: likewise.

    Raises:
        DatasetError: at the first thing that is wrong, or at the end when there was no row.
        TypeError: Parquet not from a local file.
        OSError: the file cannot be read.
    """
    check_column_names(prompt_column, completion_column)
    head, chunks = _peek(read_chunks(source) if isinstance(source, Path) else source)
    _check_head(head, format)
    if format == "jsonl":
        rows = read_jsonl(chunks)
    elif format == "csv":
        rows = read_csv(chunks, prompt_column=prompt_column, completion_column=completion_column)
    elif isinstance(source, Path):
        rows = read_parquet(source, prompt_column=prompt_column, completion_column=completion_column)
    else:
        raise TypeError("Parquet is read from a local file: its index is at the end")
    none = True
    for row in rows:
        none = False
        yield row
    if none:
        raise _nothing(head, format)
