"""The dataset format: JSONL (chat or prompt/completion), CSV and Parquet, all from untrusted hands.

A facade: the names below are the API. Everything streams in flat memory, and everything that is wrong
with a file is a :class:`DatasetError` that names the row, the field and the reason. Rows keep their text
as it is; nothing in a file is ever executed, decompressed (but Parquet's own pages) or guessed.
"""

from deploy.contract.dataset.chat import prompt_text
from deploy.contract.dataset.chat import render_prompt
from deploy.contract.dataset.columns import COMPLETION_COLUMN
from deploy.contract.dataset.columns import PROMPT_COLUMN
from deploy.contract.dataset.columns import check_column_names
from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.error import DatasetErrorCode
from deploy.contract.dataset.reading import DatasetFormat
from deploy.contract.dataset.reading import format_of
from deploy.contract.dataset.reading import read_rows
from deploy.contract.dataset.row import MAX_RECORD_BYTES
from deploy.contract.dataset.row import MAX_ROW_BYTES
from deploy.contract.dataset.row import MAX_ROWS
from deploy.contract.dataset.row import Row
from deploy.contract.dataset.validation import DatasetSummary
from deploy.contract.dataset.validation import validate
from deploy.contract.dataset.validation import validate_chunks_in_child
from deploy.contract.dataset.validation import validate_in_child

__all__ = [
    "COMPLETION_COLUMN",
    "MAX_RECORD_BYTES",
    "MAX_ROWS",
    "MAX_ROW_BYTES",
    "PROMPT_COLUMN",
    "DatasetError",
    "DatasetErrorCode",
    "DatasetFormat",
    "DatasetSummary",
    "Row",
    "check_column_names",
    "format_of",
    "prompt_text",
    "read_rows",
    "render_prompt",
    "validate",
    "validate_chunks_in_child",
    "validate_in_child",
]
