"""Multipart forms with one file, read as a stream: fields in memory, the file never.

Covers: a bounded number and size of fields, one file, order of fields free, cut and malformed
bodies, names that are not UTF-8. Does not cover: the file's own format.
"""

from collections import deque
from collections.abc import AsyncIterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import Literal

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from python_multipart.multipart import parse_options_header

from service.errors import BadRequest
from service.errors import UnsupportedMedia
from service.streaming import body_of

MAX_FIELDS: Final = 16
MAX_FIELD_BYTES: Final = 4096
MAX_FILENAME_CHARS: Final = 255
MAX_HEADERS: Final = 8
MAX_HEADER_BYTES: Final = 4096

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_Event = tuple[Literal["part", "data", "end", "close"], bytes]


def form_body(
    fields: Mapping[str, Any], *, file_field: str, required: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """What an OpenAPI document says of a route that takes such a form."""
    schema = {
        "type": "object",
        "properties": {**fields, file_field: {"type": "string", "format": "binary"}},
        "required": [*required, file_field],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


class Form:
    """One multipart request. Use in order: :meth:`open_file`, :meth:`chunks`, :meth:`finish`."""

    def __init__(self, request: Request, *, file_field: str, idle_s: float) -> None:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise UnsupportedMedia("Send the body as content-type multipart/form-data with a boundary.")
        self.fields: dict[str, str] = {}
        self._file_field = file_field
        self._body = body_of(request, idle_s=idle_s)
        self._events: deque[_Event] = deque()
        self._parser = _Collector(self._events).parser(options[b"boundary"])

    async def open_file(self) -> str:
        """Read the fields before the file, and return its name.

        Raises:
            BadRequest: no such file in the form, or a malformed form.
        """
        while (part := await self._next_part()) is not None:
            name, filename = part
            if name == self._file_field:
                return clean_filename(filename or "upload", param=name)
            await self._read_field(name)
        raise BadRequest(
            f"{self._file_field}: the form has no such file.", param=self._file_field, code="missing_file"
        )

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's content."""
        while True:
            kind, data = await self._event()
            if kind == "data":
                yield data
            elif kind == "end":
                return

    async def finish(self) -> dict[str, str]:
        """Read the fields after the file, and return all of them. Raises BadRequest for a second file."""
        while (part := await self._next_part()) is not None:
            name, _ = part
            if name == self._file_field:
                raise BadRequest(f"{name}: one file only.", param=name)
            await self._read_field(name)
        return self.fields

    async def _next_part(self) -> tuple[str, str | None] | None:
        while True:
            kind, data = await self._event()
            if kind == "close":
                return None
            if kind == "part":
                return _disposition(data)

    async def _read_field(self, name: str) -> None:
        value = bytearray()
        while True:
            kind, data = await self._event()
            value += data
            if len(value) > MAX_FIELD_BYTES:
                raise BadRequest(f"{name}: longer than {MAX_FIELD_BYTES} bytes.", param=name)
            if kind == "end":
                break
        if name in self.fields or len(self.fields) >= MAX_FIELDS:
            raise BadRequest(f"{name}: given twice, or too many fields.", param=name)
        self.fields[name] = _text(bytes(value), param=name)

    async def _event(self) -> _Event:
        while not self._events:
            chunk = await anext(self._body, None)
            if chunk is None:
                raise BadRequest("The form ends before its last boundary.", code="body_cut")
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise BadRequest(f"The form is malformed: {error}", code="invalid_form") from error
        return self._events.popleft()


class _Collector:
    """Turns the parser's callbacks into events."""

    def __init__(self, events: deque[_Event]) -> None:
        self._events = events
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""

    def parser(self, boundary: bytes) -> MultipartParser:
        """A parser that calls this collector."""
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_done,
            "on_headers_finished": lambda: self._events.append(("part", self._disposition)),
            "on_part_data": lambda data, start, end: self._events.append(("data", data[start:end])),
            "on_part_end": lambda: self._events.append(("end", b"")),
            "on_end": lambda: self._events.append(("close", b"")),
        }
        return MultipartParser(
            boundary, callbacks, max_header_count=MAX_HEADERS, max_header_size=MAX_HEADER_BYTES
        )

    def _begin(self) -> None:
        self._disposition = b""

    def _header_done(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()


def _disposition(header: bytes) -> tuple[str, str | None]:
    kind, options = parse_options_header(header)
    if kind != b"form-data" or b"name" not in options:
        raise BadRequest("A part of the form has no name.", code="invalid_form")
    filename = options.get(b"filename")
    return (
        _text(options[b"name"], param="name")[:MAX_FILENAME_CHARS],
        None if filename is None else _text(filename, param="filename"),
    )


def _text(raw: bytes, *, param: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{param}: not UTF-8.", param=param) from error


def clean_filename(filename: str, *, param: str) -> str:
    """The last part of a client's path. Raises BadRequest for one that is empty, long or unprintable."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    if not name or len(name) > MAX_FILENAME_CHARS or not name.isprintable():
        raise BadRequest(
            f"{param}: a file name has 1 to {MAX_FILENAME_CHARS} printable characters.", param=param
        )
    return name
