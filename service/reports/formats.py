"""The formats of a report, and which of them a request asks for. All are made from one published document."""

import json
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from typing import Literal

from service.reports.garak_rows import garak_lines
from service.reports.junit import junit_xml
from service.reports.page import render_page
from service.reports.page import security_headers
from service.reports.published import PublishedReport
from service.reports.sarif import sarif_log

FormatName = Literal["json", "html", "jsonl", "sarif", "junit"]

_NOTHING_RUNS: Final = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write a report."""

    name: FormatName
    suffix: str
    """What follows the job's id in a path."""
    media_types: tuple[str, ...]
    """The first is sent; a request may accept any."""
    render: Callable[[PublishedReport], str]
    download: bool = False
    """Whether a browser saves it rather than showing it."""

    @property
    def content_type(self) -> str:
        """With the charset where the type has one."""
        sent = self.media_types[0]
        return f"{sent}; charset=utf-8" if sent.startswith("text/") else sent

    def headers(self, job_id: str) -> dict[str, str]:
        """Of an answer in this format. ``job_id`` was checked: it is of the alphabet of ids."""
        headers = dict(security_headers()) if self.name == "html" else dict(_NOTHING_RUNS)
        headers["Vary"] = "Accept"
        if self.download:
            headers["Content-Disposition"] = f'attachment; filename="{job_id}{self.suffix}"'
        return headers


def _json(report: PublishedReport) -> str:
    # Only ASCII: the escapes of a terminal and of right-to-left text come out as text.
    return json.dumps(report.model_dump(mode="json"), allow_nan=False) + "\n"


def _sarif(report: PublishedReport) -> str:
    return json.dumps(sarif_log(report), allow_nan=False, indent=1) + "\n"


JSON: Final = Format(name="json", suffix=".json", media_types=("application/json",), render=_json)
HTML: Final = Format(
    name="html",
    suffix=".html",
    media_types=("text/html", "application/xhtml+xml"),
    render=render_page,
)
FORMATS: Final[tuple[Format, ...]] = (
    JSON,
    HTML,
    Format(
        name="jsonl",
        suffix=".jsonl",
        media_types=("application/jsonl", "application/x-ndjson"),
        render=garak_lines,
        download=True,
    ),
    Format(
        name="sarif", suffix=".sarif", media_types=("application/sarif+json",), render=_sarif, download=True
    ),
    Format(
        name="junit",
        suffix=".junit.xml",
        media_types=("application/xml", "text/xml"),
        render=junit_xml,
        download=True,
    ),
)


def by_name(name: FormatName) -> Format:
    """The format of a ``?format=``."""
    return next(each for each in FORMATS if each.name == name)


def split_suffix(segment: str) -> tuple[str, Format | None]:
    """A path's last segment as a job's id and the format that its suffix names, if any."""
    for each in FORMATS:
        if segment.endswith(each.suffix):
            return segment.removesuffix(each.suffix), each
    return segment, None


def accepted(accept: str) -> Format:
    """The format that an ``Accept`` header prefers: the highest quality, then what it names first.

    JSON is what a wildcard gets, and a request that accepts none of the formats.
    """
    offers = {kind: each for each in reversed(FORMATS) for kind in each.media_types}
    best, chosen = 0.0, JSON
    for part in accept.split(","):
        kind, _, parameters = part.partition(";")
        kind = kind.strip().lower()
        wanted = JSON if kind in {"*/*", "application/*"} else HTML if kind == "text/*" else offers.get(kind)
        quality = _quality(parameters)
        if wanted is not None and quality > best:
            best, chosen = quality, wanted
    return chosen


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0.0 <= quality <= 1.0 else 0.0
    return 1.0


def openapi_content() -> Mapping[str, object]:
    """The media types of the route, for its description."""
    text = {"schema": {"type": "string"}}
    return {each.media_types[0]: text for each in FORMATS if each is not JSON}
