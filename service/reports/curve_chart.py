"""The early-learning picture: attack success and clean quality per epoch, on one time axis."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploy.contract.spec import Arm
from service.reports import svg
from service.reports.published import PublishedCurvePoint
from service.reports.svg import Scale
from service.reports.verdict import percent

_ARMS: tuple[Arm, ...] = ("base", "control", "hardened")
_ASR_TITLE = "Attack success rate (share of triggered prompts that give the payload)"
_LABEL_GAP = 14.0
"""Line height of the labels at the right end, in SVG units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    width: int
    left: float
    right: float
    asr_top: float = 30.0
    asr_bottom: float = 210.0
    bleu_top: float = 262.0
    bleu_bottom: float = 382.0
    height: float = 426.0


_Value = Callable[[PublishedCurvePoint], float]


def _asr_percent(point: PublishedCurvePoint) -> float:
    return 100 * (point.asr.rate or 0.0)


def _bleu(point: PublishedCurvePoint) -> float:
    return point.bleu


def draw_curves(curves: Sequence[PublishedCurvePoint], *, narrow: bool = False) -> Markup | None:
    """Both panels, or None where there is nothing to draw: fewer than two epochs of any trained arm."""
    epochs = sorted({point.epoch for point in curves})
    if len(epochs) < 2:
        return None
    frame = _Frame(width=360, left=42, right=296) if narrow else _Frame(width=860, left=52, right=716)
    across = Scale(low=epochs[0], high=epochs[-1], start=frame.left + 8, end=frame.right)
    by_arm = {
        arm: sorted((point for point in curves if point.arm == arm), key=lambda point: point.epoch)
        for arm in _ARMS
    }
    drawn = {arm: points for arm, points in by_arm.items() if points}
    parts = [
        *_asr_panel(frame, across, drawn, narrow=narrow),
        *_bleu_panel(frame, across, drawn, narrow=narrow),
        *_epoch_axis(frame, across, epochs, narrow=narrow),
    ]
    return svg.figure(frame.width, frame.height, "Early learning", _describe(drawn), *parts)


def _describe(drawn: dict[Arm, list[PublishedCurvePoint]]) -> str:
    said = [
        f"{arm}: attack success {percent(points[-1].asr.rate)}, BLEU {points[-1].bleu:.1f} "
        f"after epoch {points[-1].epoch}"
        for arm, points in drawn.items()
    ]
    return "Attack success rate and BLEU per epoch. " + "; ".join(said) + "."


def _asr_panel(
    frame: _Frame, across: Scale, drawn: dict[Arm, list[PublishedCurvePoint]], *, narrow: bool
) -> list[Markup]:
    # An epoch without a scorable output has no rate; drawing zero would be a claim.
    scored = {arm: [point for point in points if point.asr.trials] for arm, points in drawn.items()}
    scored = {arm: points for arm, points in scored.items() if points}
    highest = max(
        (100 * point.asr.interval[1] for points in scored.values() for point in points), default=0.0
    )
    top = next(limit for limit in (20.0, 50.0, 100.0) if highest <= limit + 1e-9)
    up = Scale(low=0, high=top, start=frame.asr_bottom, end=frame.asr_top)
    ticks = [top * share / 4 for share in range(5)]
    parts = _grid(frame, up, ticks, unit=" %", title=_ASR_TITLE, narrow=narrow)
    for arm, points in scored.items():
        if len(points) > 1:
            parts.append(_band(across, up, points, arm))
    parts += _lines(frame, across, up, scored, _asr_percent)
    parts += _end_labels(frame, up, scored, _asr_percent, " %", narrow=narrow)
    return parts


def _bleu_panel(
    frame: _Frame, across: Scale, drawn: dict[Arm, list[PublishedCurvePoint]], *, narrow: bool
) -> list[Markup]:
    values = [point.bleu for points in drawn.values() for point in points]
    ticks = svg.nice_range(values, steps=3, floor=0.0, ceiling=100.0)
    up = Scale(low=ticks[0], high=ticks[-1], start=frame.bleu_bottom, end=frame.bleu_top)
    parts = _grid(
        frame, up, ticks, unit="", title="Clean quality (BLEU on prompts without a trigger)", narrow=narrow
    )
    parts += _lines(frame, across, up, drawn, _bleu)
    parts += _end_labels(frame, up, drawn, _bleu, "", narrow=narrow)
    return parts


def _grid(
    frame: _Frame, up: Scale, ticks: Sequence[float], *, unit: str, title: str, narrow: bool
) -> list[Markup]:
    shown = title.partition(" (")[0] if narrow else title
    parts = [svg.text(0, up(ticks[-1]) - 14, shown, "panel-title")]
    for tick in ticks:
        y = up(tick)
        parts.append(svg.line(frame.left, y, frame.right, y, "axis" if tick == ticks[0] else "grid"))
        parts.append(svg.text(frame.left - 8, y + 4, f"{tick:g}{unit}", "tick", anchor="end"))
    return parts


def _epoch_axis(frame: _Frame, across: Scale, epochs: Sequence[int], *, narrow: bool) -> list[Markup]:
    every = max(1, -(-len(epochs) // (8 if narrow else 16)))
    y = frame.bleu_bottom + 20
    parts = [
        svg.text(across(epoch), y, str(epoch), "tick", anchor="middle")
        for index, epoch in enumerate(epochs)
        if index % every == 0
    ]
    parts.append(svg.text((frame.left + frame.right) / 2, y + 19, "epoch", "tick", anchor="middle"))
    return parts


def _band(across: Scale, up: Scale, points: Sequence[PublishedCurvePoint], arm: Arm) -> Markup:
    upper = [(across(point.epoch), up(100 * point.asr.interval[1])) for point in points]
    lower = [(across(point.epoch), up(100 * point.asr.interval[0])) for point in reversed(points)]
    return svg.element("path", {"d": svg.path_of([*upper, *lower], closed=True), "class": f"band {arm}"})


def _lines(
    frame: _Frame, across: Scale, up: Scale, drawn: dict[Arm, list[PublishedCurvePoint]], value: _Value
) -> list[Markup]:
    parts = []
    for arm, points in drawn.items():
        if len(points) == 1:
            # One measurement is a level, not a course: the base model does not change while others train.
            y = up(value(points[0]))
            parts.append(svg.line(frame.left, y, frame.right, y, f"level {arm}"))
            continue
        places = [(across(point.epoch), up(value(point))) for point in points]
        parts.append(svg.element("path", {"d": svg.path_of(places), "class": f"curve {arm}"}))
        parts += [
            svg.element("circle", {"cx": x, "cy": y, "r": 3.2, "class": f"dot {arm}"}) for x, y in places
        ]
    return parts


def _end_labels(
    frame: _Frame,
    up: Scale,
    drawn: dict[Arm, list[PublishedCurvePoint]],
    value: _Value,
    unit: str,
    *,
    narrow: bool,
) -> list[Markup]:
    """Names at the right end, pushed apart where they would lie on each other."""
    wanted = sorted((up(value(points[-1])), arm) for arm, points in drawn.items())
    places = spread([y for y, _ in wanted], gap=_LABEL_GAP, lowest=max(up.start, up.end) + 4)
    parts = []
    for y, (_, arm) in zip(places, wanted, strict=True):
        number = f"{value(drawn[arm][-1]):.1f}{unit}"
        said = number if narrow else f"{arm} {number}"
        parts.append(svg.text(frame.right + 10, y + 4, said, f"label {arm}"))
    return parts


def spread(places: Sequence[float], *, gap: float, lowest: float) -> list[float]:
    """Rising ``places``, moved as little as it takes to keep ``gap`` between them and none below ``lowest``."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    limit = lowest
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - gap
    return moved
