"""Rows of a JSON Lines file: one ``{"messages"}`` or ``{"prompt", "completion"}`` object per line."""

from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from deploy.contract import strict_json
from deploy.contract.dataset.chat import chat_row
from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.error import DatasetErrorCode
from deploy.contract.dataset.error import shown
from deploy.contract.dataset.lines import decode_line
from deploy.contract.dataset.lines import read_lines
from deploy.contract.dataset.row import Row
from deploy.contract.dataset.row import check_row_count
from deploy.contract.dataset.row import checked_text
from deploy.contract.dataset.row import make_row
from deploy.contract.dataset.sniff import text_kind

_JSON_CODES: dict[str, DatasetErrorCode] = {
    "duplicate_key": "duplicate_key",
    "not_a_number": "not_a_number",
    "nested_too_deeply": "nested_too_deeply",
}


def _parse(text: str, number: int, *, first: bool) -> Any:
    try:
        return strict_json.parse(text)
    except strict_json.StrictJsonError as error:
        if error.code in _JSON_CODES:
            raise DatasetError(_JSON_CODES[error.code], error.reason, row=number, line=number) from None
        kind = text_kind(text) if first else None
        if kind is not None and not kind.startswith("JSON Lines"):
            reason = f"the file is not JSON Lines, it seems to be {kind}"
            raise DatasetError("wrong_format", reason) from None
        if error.at_end and not text.endswith("\n"):
            reason = "the file ends in the middle of this record"
            raise DatasetError("incomplete_record", reason, row=number, line=number) from None
        raise DatasetError("invalid_json", error.reason, row=number, line=number) from None


def _row(value: Any, number: int, *, first: bool) -> Row:
    if not isinstance(value, dict):
        if first and isinstance(value, list):
            reason = "the file is not JSON Lines, it seems to be a JSON array: write one object per line"
            raise DatasetError("wrong_format", reason)
        raise DatasetError("wrong_type", "must be a JSON object", row=number, line=number)
    chat = "messages" in value
    known = ("messages",) if chat else ("prompt", "completion")
    extra = next((key for key in value if key not in known), None)
    if extra is not None:
        reason = f"is not known; a row has {' and '.join(known)}"
        raise DatasetError("unknown_field", reason, row=number, line=number, field=shown(extra))
    missing = next((key for key in known if key not in value), None)
    if missing is not None:
        raise DatasetError("missing_field", "is missing", row=number, line=number, field=missing)
    if chat:
        return chat_row(value["messages"], number)
    prompt, completion = (checked_text(value[key], row=number, line=number, field=key) for key in known)
    return make_row(number=number, line=number, prompt=prompt, completion=completion)


def _texts(chunks: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    try:
        for number, line in read_lines(chunks):
            yield number, decode_line(number, line)
    except DatasetError as error:
        # In this format a line is a row.
        raise DatasetError(error.code, error.reason, row=error.line, line=error.line) from None


def read_jsonl(chunks: Iterable[bytes]) -> Iterator[Row]:
    """Rows in order; blank lines are passed over and counted.

    Raises:
        DatasetError: at the first line that is not a row.
    """
    first = True
    for number, text in _texts(chunks):
        check_row_count(number)
        if text.isspace():
            continue
        yield _row(_parse(text, number, first=first), number, first=first)
        first = False
