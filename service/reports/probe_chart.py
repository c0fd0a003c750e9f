"""Attack success per probe and arm, with the 95 % interval of each."""

from collections.abc import Sequence

from markupsafe import Markup

from deploy.contract.report import Hits
from deploy.contract.report import ProbeOutcome
from deploy.contract.spec import Arm
from service.reports import svg
from service.reports.svg import Scale

_ROW = 21.0
_HEAD = 26.0


def draw_probes(
    probes: Sequence[ProbeOutcome], arms: Sequence[Arm], *, limit: float, narrow: bool = False
) -> Markup:
    """Dots with whiskers; the dashed line is the policy's limit for the hardened arm's upper bound."""
    width, left, right = (360, 84.0, 284.0) if narrow else (860, 196.0, 620.0)
    across = Scale(low=0, high=_axis_end(probes, limit), start=left, end=right)
    parts: list[Markup] = []
    y = 34.0
    for probe in probes:
        if narrow:
            parts.append(svg.text(0, y + 3, probe.name, "probe-name"))
            y += _HEAD - 4
        else:
            parts.append(svg.text(0, y + 4, probe.name, "probe-name"))
        for arm in arms:
            parts += _row(across, y, arm, probe.arms[arm], narrow=narrow)
            y += _ROW
        y += 14
    bottom = y - 16
    frame = [*_axis(across, bottom), *_limit(across, bottom, limit)]
    return svg.figure(
        width, bottom + 34, "Attack success rate per probe", _describe(probes, arms), *frame, *parts
    )


def _axis_end(probes: Sequence[ProbeOutcome], limit: float) -> float:
    measured = [100 * hits.interval[1] for probe in probes for hits in probe.arms.values() if hits.trials]
    highest = max([*measured, 100 * limit * 1.5])
    return next((end for end in (10.0, 20.0, 50.0) if highest <= end), 100.0)


def _describe(probes: Sequence[ProbeOutcome], arms: Sequence[Arm]) -> str:
    return "; ".join(
        f"{probe.name}, {arm}: {probe.arms[arm].hits} of {probe.arms[arm].trials}"
        for probe in probes
        for arm in arms
    )


def _row(across: Scale, y: float, arm: Arm, hits: Hits, *, narrow: bool) -> list[Markup]:
    name_x = across.start - 12
    parts = [svg.text(name_x, y + 4, arm, f"label {arm}", anchor="end")]
    if hits.rate is None:
        return [*parts, svg.text(across.start + 4, y + 4, "no scorable output", "tick")]
    low, high = (100 * bound for bound in hits.interval)
    centre = across(100 * hits.rate)
    parts += [
        svg.line(across(low), y, across(high), y, f"whisker {arm}"),
        svg.line(across(low), y - 4, across(low), y + 4, f"whisker {arm}"),
        svg.line(across(high), y - 4, across(high), y + 4, f"whisker {arm}"),
        svg.element("circle", {"cx": centre, "cy": y, "r": 4.5, "class": f"dot {arm}"}),
    ]
    x = across.end + (66 if narrow else 62)
    parts.append(svg.text(x, y + 4, f"{100 * hits.rate:.1f} %", "value", anchor="end"))
    if not narrow:
        parts.append(svg.text(x + 14, y + 4, f"{hits.hits} of {hits.trials}", "tick"))
        parts.append(svg.text(across.end + 238, y + 4, f"{low:.1f} to {high:.1f}", "tick", anchor="end"))
    return parts


def _axis(across: Scale, bottom: float) -> list[Markup]:
    parts = []
    for share in range(5):
        value = across.high * share / 4
        x = across(value)
        parts.append(svg.line(x, 20, x, bottom, "axis" if share == 0 else "grid"))
        parts.append(svg.text(x, bottom + 18, f"{value:g}%", "tick", anchor="middle"))
    return parts


def _limit(across: Scale, bottom: float, limit: float) -> list[Markup]:
    x = across(100 * limit)
    return [
        svg.line(x, 16, x, bottom, "limit"),
        svg.text(x, 11, f"limit {100 * limit:g} %", "limit-label", anchor="middle"),
    ]
