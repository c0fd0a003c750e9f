"""SVG made of escaped elements and linear scales. Owns no data and no colours: those are CSS classes."""

import math
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from markupsafe import escape

Attribute = str | int | float


def element(tag: str, attributes: dict[str, Attribute], *children: Markup | str) -> Markup:
    """One element. Attribute values and text children are escaped; ``Markup`` children are not."""
    written = "".join(f' {name}="{escape(_attribute(value))}"' for name, value in attributes.items())
    inner = Markup("").join(children)
    return Markup(f"<{tag}{written}>{inner}</{tag}>")  # noqa: S704 - every part was escaped above


def _attribute(value: Attribute) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Maps a value in [low, high] to a coordinate in [start, end]; both directions may fall."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of ``value``; values outside are held at the border."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def nice_step(span: float, *, steps: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that divides ``span`` into at most ``steps``."""
    raw = max(span, 1e-9) / steps
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def nice_range(values: Sequence[float], *, steps: int, floor: float, ceiling: float) -> list[float]:
    """Ticks around ``values``: at least two, at round numbers, within [floor, ceiling]."""
    low, high = min(values), max(values)
    pad = max((high - low) * 0.1, 1.0)
    low, high = max(floor, low - pad), min(ceiling, high + pad)
    step = nice_step(high - low, steps=steps)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    """A straight line."""
    return element("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": css})


def text(x: float, y: float, said: str, css: str, *, anchor: str = "start") -> Markup:
    """A label; ``anchor`` is start, middle or end."""
    return element("text", {"x": x, "y": y, "class": css, "text-anchor": anchor}, escape(said))


def path_of(points: Iterable[tuple[float, float]], *, closed: bool = False) -> str:
    """Path data through ``points``."""
    body = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{body}{' Z' if closed else ''}"


def figure(width: int, height: float, title: str, description: str, *parts: Markup) -> Markup:
    """The whole picture, named for people who cannot see it."""
    view = f"0 0 {width} {_attribute(float(height))}"
    return element(
        "svg",
        {"viewBox": view, "width": width, "role": "img", "class": "chart"},
        element("title", {}, escape(title)),
        element("desc", {}, escape(description)),
        *parts,
    )
