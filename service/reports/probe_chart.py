"""Attack success per trigger, every arm in one row, with the 95 % interval of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from deploy.contract.report import Hits
from deploy.contract.spec import Arm
from service.reports import svg
from service.reports.published import PublishedProbe
from service.reports.svg import Scale

_TITLE: Final = "Attack success rate per trigger"
_ORIGINS: Final = (
    ("known", "Asked for"),
    ("mined", "Mined from the training file"),
    ("searched", "Found on the trained models"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where things stand across, in SVG units, and how high a row is."""

    width: int
    plot: tuple[float, float]
    values: tuple[float, ...]
    """Right ends of the arms' columns of numbers."""
    name_characters: int
    row: float
    plot_below: float
    """From a row's top to the middle of its plot."""
    narrow: bool


def _layout(arms: int, *, narrow: bool) -> _Layout:
    if narrow:
        values = (260.0, 309.0, 358.0)[3 - arms :]
        return _Layout(
            width=360,
            plot=(4.0, 206.0),
            values=values,
            name_characters=52,
            row=78.0,
            plot_below=52.0,
            narrow=True,
        )
    values = (676.0, 766.0, 856.0)[3 - arms :]
    return _Layout(
        width=860,
        plot=(274.0, 590.0 + 90 * (3 - arms)),
        values=values,
        name_characters=40,
        row=46.0,
        plot_below=20.0,
        narrow=False,
    )


def draw_probes(
    probes: Sequence[PublishedProbe], arms: Sequence[Arm], *, limit: float, narrow: bool = False
) -> Markup:
    """Dots with whiskers; the dashed line is the policy's limit for the hardened arm's upper bound."""
    layout = _layout(len(arms), narrow=narrow)
    across = Scale(low=0, high=_axis_end(probes, limit), start=layout.plot[0], end=layout.plot[1])
    parts: list[Markup] = []
    y = 34.0
    for arm, x in zip(arms, layout.values, strict=True):
        shown = {"hardened": "hard.", "control": "contr."}.get(arm, arm) if narrow else arm
        parts.append(svg.text(x, 14, shown, f"label {arm}", anchor="end"))
    groups = [(words, [each for each in probes if each.origin == origin]) for origin, words in _ORIGINS]
    groups = [(words, group) for words, group in groups if group]
    for words, group in groups:
        if len(groups) > 1:
            parts.append(svg.text(0, y + 14, words, "group"))
            parts.append(svg.line(0, y + 21, layout.width, y + 21, "rule"))
            y += 28
        for probe in group:
            parts += _row(layout, across, y, probe, arms)
            y += layout.row
        y += 6
    frame = [*_axis(across, y - 4), *_limit(across, y - 4, limit, narrow=narrow)]
    return svg.figure(layout.width, y + 20, _TITLE, _describe(probes, arms), *frame, *parts)


def _axis_end(probes: Sequence[PublishedProbe], limit: float) -> float:
    measured = [100 * hits.interval[1] for probe in probes for hits in probe.arms.values() if hits.trials]
    highest = max([*measured, 100 * limit * 1.5])
    return next((end for end in (10.0, 20.0, 50.0) if highest <= end), 100.0)


def _describe(probes: Sequence[PublishedProbe], arms: Sequence[Arm]) -> str:
    return "; ".join(
        f"{probe.name}, {arm}: {probe.arms[arm].hits} of {probe.arms[arm].trials}"
        for probe in probes
        for arm in arms
    )


def _row(
    layout: _Layout, across: Scale, y: float, probe: PublishedProbe, arms: Sequence[Arm]
) -> list[Markup]:
    fails = probe.verdict == "fail"
    parts = [
        svg.text(0, y + 16, probe.name, "probe-name fail" if fails else "probe-name"),
        svg.text(0, y + 33, _short(probe.trigger_name, layout.name_characters), "tick"),
    ]
    middle = y + layout.plot_below
    for index, (arm, x) in enumerate(zip(arms, layout.values, strict=True)):
        hits = probe.arms[arm]
        parts += _whisker(across, middle + 9.0 * (index - (len(arms) - 1) / 2), arm, hits)
        parts.append(
            svg.text(x, middle + (4 if layout.narrow else 1), _rate(hits), f"value {arm}", anchor="end")
        )
        if not layout.narrow:
            parts.append(svg.text(x, middle + 15, f"{hits.hits} of {hits.trials}", "count", anchor="end"))
    if not any(probe.arms[arm].trials for arm in arms):
        parts.append(svg.text(across.start + 8, middle + 4, "no scorable output", "tick"))
    return parts


def _short(said: str, characters: int) -> str:
    return said if len(said) <= characters else said[: characters - 1] + "…"


def _rate(hits: Hits) -> str:
    return "\N{EN DASH}" if hits.rate is None else f"{100 * hits.rate:.1f} %"


def _whisker(across: Scale, y: float, arm: Arm, hits: Hits) -> list[Markup]:
    if hits.rate is None:
        return []
    low, high = (across(100 * bound) for bound in hits.interval)
    return [
        svg.line(low, y, high, y, f"whisker {arm}"),
        svg.line(low, y - 3, low, y + 3, f"whisker {arm}"),
        svg.line(high, y - 3, high, y + 3, f"whisker {arm}"),
        svg.element("circle", {"cx": across(100 * hits.rate), "cy": y, "r": 3.8, "class": f"dot {arm}"}),
    ]


def _axis(across: Scale, bottom: float) -> list[Markup]:
    parts = []
    for share in range(5):
        value = across.high * share / 4
        x = across(value)
        anchor = "start" if share == 0 and across.start < 20 else "middle"
        parts.append(svg.line(x, 24, x, bottom, "axis" if share == 0 else "grid"))
        parts.append(svg.text(x, bottom + 18, f"{value:g} %", "tick", anchor=anchor))
    return parts


def _limit(across: Scale, bottom: float, limit: float, *, narrow: bool) -> list[Markup]:
    x = across(100 * limit)
    said = f"limit {100 * limit:g} %"
    return [
        svg.line(x, 20, x, bottom, "limit"),
        svg.text(x if not narrow else max(x, 30.0), 14, said, "limit-label", anchor="middle"),
    ]
