"""A small horizontal gauge: one measured value with its interval, against one limit of the policy."""

from markupsafe import Markup

from deploy.contract.judgement import Verdict
from service.reports import svg
from service.reports.svg import Scale

WIDTH = 240
_TOP, _BOTTOM = 6.0, 18.0


def draw_gauge(
    value: float,
    interval: tuple[float, float] | None,
    *,
    limit: float,
    scale: tuple[float, float],
    verdict: Verdict,
    said: str,
) -> Markup:
    """The value as a dot, its interval as a bar, the limit as a dashed line. ``said`` names it for the blind."""
    across = Scale(low=scale[0], high=scale[1], start=7, end=WIDTH - 7)
    middle = (_TOP + _BOTTOM) / 2
    parts = [svg.line(across.start, middle, across.end, middle, "track")]
    if interval is not None:
        low, high = across(interval[0]), across(interval[1])
        size = {"x": low, "y": middle - 4, "width": max(high - low, 2.0), "height": 8.0, "rx": 4}
        parts.append(svg.element("rect", {**size, "class": f"span {verdict}"}))
    parts.append(svg.line(across(limit), _TOP - 5, across(limit), _BOTTOM + 5, "limit"))
    parts.append(
        svg.element("circle", {"cx": across(value), "cy": middle, "r": 6, "class": f"dot {verdict}"})
    )
    return svg.figure(WIDTH, 24.0, said, said, *parts)
