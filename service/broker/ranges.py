"""The one form of ``Range`` that is asked for: from a byte on, perhaps up to another."""

import re
from dataclasses import dataclass
from typing import ClassVar
from typing import Final

from service.errors import BadRequest
from service.errors import ServiceError

_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})?")


class Unsatisfiable(ServiceError):  # noqa: N818 - the names of HTTP
    """The range begins behind the end of the object."""

    status: ClassVar[int] = 416
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str] = "range_not_satisfiable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes ``start`` to ``stop`` (exclusive) of an object of ``size_bytes``."""

    start: int
    stop: int
    size_bytes: int

    @property
    def length(self) -> int:
        """In bytes."""
        return self.stop - self.start

    @property
    def content_range(self) -> str:
        """The header of an answer."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size_bytes}"


def parse_range(header: str | None, size_bytes: int) -> Span | None:
    """The span of an object that a header asks for; None when there is no header.

    Raises:
        BadRequest: another form.
        Unsatisfiable: it begins behind the end.
    """
    if header is None:
        return None
    match = _RANGE.fullmatch(header.strip())
    if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
        raise BadRequest("Range: send bytes=FIRST-LAST or bytes=FIRST-.", code="invalid_range", param="range")
    start = int(match[1])
    if start >= size_bytes:
        raise Unsatisfiable(
            f"The object has {size_bytes} bytes.", headers={"content-range": f"bytes */{size_bytes}"}
        )
    last = size_bytes - 1 if match[2] is None else min(int(match[2]), size_bytes - 1)
    return Span(start=start, stop=last + 1, size_bytes=size_bytes)
