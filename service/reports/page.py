"""The report as one HTML page: no script, nothing fetched, every text escaped by the template."""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Final

from jinja2 import Environment
from jinja2 import StrictUndefined
from jinja2 import Template
from markupsafe import Markup

from service.reports import svg
from service.reports import verdict
from service.reports.checks import policy_checks
from service.reports.curve_chart import draw_curves
from service.reports.key_numbers import key_numbers
from service.reports.payload_name import payload_words
from service.reports.probe_chart import draw_probes
from service.reports.published import PublishedReport
from service.reports.side_by_side import shown_examples
from service.reports.visible import one_line

ROWS_SHOWN: Final = 12
"""Suspicious rows at once; up to ``ROWS_UNFOLDED`` more are folded away, the rest are in the JSON."""
ROWS_UNFOLDED: Final = 188


@cache
def _style() -> str:
    return resources.files("service.reports").joinpath("report.css").read_text(encoding="utf-8")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _score_bar(score: float) -> Markup:
    """How suspicious a row is, as a bar."""
    filled = svg.element("rect", {"width": 56 * score, "height": 8.0, "rx": 2, "class": "filled"})
    track = svg.element("rect", {"width": 56.0, "height": 8.0, "rx": 2, "class": "track"})
    box: dict[str, svg.Attribute] = {
        "viewBox": "0 0 56 8",
        "width": 56,
        "height": 8,
        "class": "score",
        "aria-hidden": "true",
    }
    return svg.element("svg", box, track, filled)


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": verdict.percent,
        "between": verdict.between,
        "line": one_line,
        "payload": payload_words,
        "origin": verdict.origin_words,
        "moment": _moment,
        "score": _score_bar,
    }
    source = resources.files("service.reports").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(source)


@cache
def security_headers() -> Mapping[str, str]:
    """Of every answer that carries the page: nothing runs, nothing loads, nothing frames it."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; sandbox"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-store",
    }


def render_page(report: PublishedReport) -> str:
    """The page of a published report."""
    first = verdict.strongest(report)
    ordered = verdict.ordered(report.probes, first)
    limit = report.policy.max_asr_upper
    return _template().render(
        style=Markup(_style()),  # noqa: S704 - our own file, and the policy names its hash
        report=report,
        headline=verdict.headline(report),
        tried=verdict.tried(report),
        happened=verdict.happened(report),
        how_sure=verdict.how_sure(report),
        why=verdict.why(report),
        numbers=key_numbers(report),
        checks=policy_checks(report),
        unknown=[probe for probe in report.probes if probe.origin != "known"],
        probes=ordered,
        examples={probe.name: shown_examples(probe) for probe in ordered},
        curves=(draw_curves(report.curves), draw_curves(report.curves, narrow=True)),
        bars=(
            draw_probes(report.probes, report.arms, limit=limit),
            draw_probes(report.probes, report.arms, limit=limit, narrow=True),
        ),
        rows=(
            report.suspicious_rows[:ROWS_SHOWN],
            report.suspicious_rows[ROWS_SHOWN : ROWS_SHOWN + ROWS_UNFOLDED],
        ),
    )
