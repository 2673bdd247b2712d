"""A handful of SVG primitives: scales, ticks, markers with error bars; colours come from the style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .markup import NOTHING, Markup, element, join, text, visible

SLOTS = 6  # engines with a colour and a marker of their own; a seventh starts again
_CHARACTER = 6.3  # mean width of a 12 px sans-serif character, generous


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From a value to a coordinate.

    Attributes:
        low: Value at ``start``.
        high: Value at ``end``, > ``low``.
        start: Coordinate of ``low`` in pixels.
        end: Coordinate of ``high`` in pixels.
        bend: 0 for a linear scale; else the value up to which log(1 + value / bend) is about linear.
    """

    low: float
    high: float
    start: float
    end: float
    bend: float = 0.0

    def at(self, value: float) -> float:
        """Give the coordinate of a value; what lies outside is held at the border."""
        low, inside, high = (self._warp(x) for x in (self.low, min(max(value, self.low), self.high), self.high))
        return self.start + (inside - low) / (high - low) * (self.end - self.start)

    def _warp(self, value: float) -> float:
        return math.log1p(value / self.bend) if self.bend else value


def scale_around(values: Sequence[float], start: float, end: float, *, floor: float, ceiling: float) -> Scale:
    """Make a linear scale with round borders that holds all values and stays within floor and ceiling."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    step = _step(low - pad, high + pad)
    low, high = math.floor((low - pad) / step) * step, math.ceil((high + pad) / step) * step
    low, high = max(low, floor), min(high, ceiling)
    return Scale(low=low, high=high if high > low else low + step, start=start, end=end)


def ticks(scale: Scale) -> list[float]:
    """Give three to seven round values inside a linear scale."""
    step = _step(scale.low, scale.high)
    first = math.ceil(scale.low / step - 1e-9)
    last = math.floor(scale.high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _step(low: float, high: float) -> float:
    rough = max((high - low) / 5, 1e-12)
    base = 10.0 ** math.floor(math.log10(rough))
    return next(base * factor for factor in (1.0, 2.0, 5.0, 10.0) if base * factor >= rough * 0.999)


def canvas(width: float, height: float, label: str, *children: Markup) -> Markup:
    """Make the drawing, read out as one image with the given label."""
    attributes = {
        "class": "chart",
        "viewBox": f"0 0 {width:g} {height:g}",
        "width": f"{width:g}",
        "height": f"{height:g}",
        "role": "img",
        "aria-label": label,
        "xmlns": "http://www.w3.org/2000/svg",
    }
    return element("svg", attributes, *children)


def line(x1: float, y1: float, x2: float, y2: float, name: str) -> Markup:
    """Draw a straight line of a class of the style sheet."""
    return element("line", {"class": name, "x1": _c(x1), "y1": _c(y1), "x2": _c(x2), "y2": _c(y2)})


def words(x: float, y: float, content: str, name: str, *, anchor: str = "start", width: float = math.inf) -> Markup:
    """Write a line of text, cut with an ellipsis where it would exceed a width in pixels; the whole is the tooltip."""
    content = visible(content)
    room = max(int(width / _CHARACTER), 1) if math.isfinite(width) else len(content)
    attributes = {"class": name, "x": _c(x), "y": _c(y), "text-anchor": anchor}
    if len(content) <= room:
        return element("text", attributes, text(content))
    return element("text", attributes, text(content[: max(room - 1, 1)] + "…"), element("title", {}, text(content)))


def polyline(points: Sequence[tuple[float, float]], name: str) -> Markup:
    """Draw a line through points."""
    return element("polyline", {"class": name, "points": " ".join(f"{_c(x)},{_c(y)}" for x, y in points)})


def marker(slot: int, x: float, y: float, *, hollow: bool = False) -> Markup:
    """Draw the mark of an engine: colour and shape by its slot, hollow for the reference."""
    name = f"mark s{slot % SLOTS}" + (" hollow" if hollow else "")
    return _SHAPES[slot % SLOTS](x, y, name)


def cross_bars(slot: int, centre: tuple[float, float], xs: tuple[float, float], ys: tuple[float, float]) -> Markup:
    """Draw error bars along one or both axes, in pixel coordinates; NaN leaves an axis out."""
    (x, y), name, cap = centre, f"bar s{slot % SLOTS}", 3.0
    parts = []
    if all(map(math.isfinite, xs)):
        parts += [line(xs[0], y, xs[1], y, name), *(line(end, y - cap, end, y + cap, name) for end in xs)]
    if all(map(math.isfinite, ys)):
        parts += [line(x, ys[0], x, ys[1], name), *(line(x - cap, end, x + cap, end, name) for end in ys)]
    return join(parts)


def titled(title: str, *children: Markup) -> Markup:
    """Group drawings under a tooltip."""
    return element("g", {}, element("title", {}, text(title)), *children) if children else NOTHING


def _polygon(offsets: Sequence[tuple[float, float]]) -> Callable[[float, float, str], Markup]:
    def draw(x: float, y: float, name: str) -> Markup:
        return element("polygon", {"class": name, "points": " ".join(f"{_c(x + a)},{_c(y + b)}" for a, b in offsets)})

    return draw


def _circle(x: float, y: float, name: str) -> Markup:
    return element("circle", {"class": name, "cx": _c(x), "cy": _c(y), "r": "4.5"})


_SHAPES: tuple[Callable[[float, float, str], Markup], ...] = (
    _circle,
    _polygon([(-4.2, -4.2), (4.2, -4.2), (4.2, 4.2), (-4.2, 4.2)]),
    _polygon([(0, -5.5), (5, 4), (-5, 4)]),
    _polygon([(0, -6), (6, 0), (0, 6), (-6, 0)]),
    _polygon([(0, 5.5), (5, -4), (-5, -4)]),
    _polygon(
        [
            (-5.5, -1.8),
            (-1.8, -1.8),
            (-1.8, -5.5),
            (1.8, -5.5),
            (1.8, -1.8),
            (5.5, -1.8),
            (5.5, 1.8),
            (1.8, 1.8),
            (1.8, 5.5),
            (-1.8, 5.5),
            (-1.8, 1.8),
            (-5.5, 1.8),
        ]
    ),
)


def _c(value: float) -> str:
    return f"{value:.1f}"
