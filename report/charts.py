"""The three diagrams: dots with intervals by condition, scatter of two figures, lines over a strength."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import format as wording
from .markup import Markup, join
from .svg import SLOTS, Scale, canvas, cross_bars, line, marker, polyline, scale_around, ticks, titled, words

# The width of a phone's column, so that a diagram is drawn 1:1 there and beside others on a desktop.
WIDTH = 356.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 12.0, 42.0
_LANE = 13.0
_NO_BAR = (math.nan, math.nan)
_SPREAD = 20.0  # largest over smallest positive x above which the axis bends to a logarithm


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One engine's figure with its bounds (NaN where there are none).

    Attributes:
        slot: Number of the engine: its colour and shape.
        hollow: Whether it is the reference.
        y: The figure.
        low: Lower bound.
        high: Upper bound.
        title: Tooltip.
        name: Written beside the mark where there is room.
        x: Position along the other axis, where the diagram has one.
        x_low: Its lower bound.
        x_high: Its upper bound.
    """

    slot: int
    hollow: bool
    y: float
    low: float
    high: float
    title: str
    name: str = ""
    x: float = math.nan
    x_low: float = math.nan
    x_high: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Row:
    """One condition of a dot diagram: its label, a note at the right, the engines' marks."""

    label: str
    note: str
    marks: tuple[Mark, ...]


def dots(rows: Sequence[Row], *, label: str, beside: Sequence[Row] = (), unit: str = "share") -> Markup:
    """Draw one row per condition: label and note above, below it each engine's figure with its interval.

    Args:
        rows: What is drawn.
        label: What the drawing shows, for those who can't see it.
        beside: Rows of other drawings that share this one's axis.
        unit: Unit of the figures.
    """
    axis = _value_axis([mark for row in (*rows, *beside) for mark in row.marks], unit, 14.0, WIDTH - 18.0)
    top = 22.0
    drawn, y = [], top
    for row in rows:
        y += 25
        drawn.append(words(0, y - 5, row.label, "label", width=WIDTH - 12 - 7 * len(row.note)))
        drawn.append(words(WIDTH, y - 5, row.note, "note", anchor="end"))
        for index, mark in enumerate(row.marks):
            drawn.append(_dot(mark, axis, y + 5 + index * _LANE))
        y += 2 + _LANE * len(row.marks)
    grid = [line(axis.at(tick), top - 4, axis.at(tick), y + 2, "grid") for tick in ticks(axis)]
    numbers = [words(axis.at(tick), 11, _tick(tick, unit), "tick", anchor="middle") for tick in ticks(axis)]
    return canvas(WIDTH, y + 4, label, *grid, *numbers, *drawn)


def scatter(marks: Sequence[Mark], *, x_label: str, y_label: str, label: str, unit: str = "share") -> Markup:
    """Draw figures against another quantity that starts at zero, with error bars both ways."""
    height = 290.0
    x_axis = scale_around(
        [0.0] + [v for m in marks for v in (m.x, m.x_low, m.x_high)], _LEFT, WIDTH - _RIGHT, floor=0.0, ceiling=math.inf
    )
    y_axis = _value_axis(marks, unit, height - _BOTTOM, _TOP + 12)
    drawn = [_point(mark, x_axis, y_axis) for mark in marks]
    drawn += _names(marks, x_axis, y_axis)
    frame = _frame(x_axis, y_axis, ticks(x_axis), height, unit)
    return canvas(WIDTH, height, label, frame, *_axis_labels(x_label, y_label, height), *drawn)


def lines(series: Sequence[Sequence[Mark]], *, x_label: str, y_label: str, label: str, unit: str = "share") -> Markup:
    """Draw one line per engine with error bars; a wide range of x is drawn on a logarithmic axis."""
    height = 264.0
    marks = [mark for one in series for mark in one]
    xs = sorted({mark.x for mark in marks if math.isfinite(mark.x)})
    x_axis = _strength_axis(xs)
    y_axis = _value_axis(marks, unit, height - _BOTTOM, _TOP + 12)
    drawn = []
    for index, one in enumerate(series):
        aside = 4.0 * (index - (len(series) - 1) / 2)  # so that equal figures do not hide each other
        shifted = replace(x_axis, start=x_axis.start + aside, end=x_axis.end + aside)
        whole = sorted((m for m in one if math.isfinite(m.x) and math.isfinite(m.y)), key=lambda m: m.x)
        if whole:
            trace = [(shifted.at(mark.x), y_axis.at(mark.y)) for mark in whole]
            drawn.append(polyline(trace, f"curve s{whole[0].slot % SLOTS}"))
        drawn += [_point(mark, shifted, y_axis) for mark in whole]
    numbers = xs if x_axis.bend or len(xs) <= 8 else ticks(x_axis)
    frame = _frame(x_axis, y_axis, _apart(numbers, x_axis), height, unit)
    return canvas(WIDTH, height, label, frame, *_axis_labels(x_label, y_label, height), *drawn)


def _value_axis(marks: Sequence[Mark], unit: str, start: float, end: float) -> Scale:
    ceiling = 1.0 if unit == "share" else math.inf
    return scale_around([v for m in marks for v in (m.y, m.low, m.high)], start, end, floor=0.0, ceiling=ceiling)


def _strength_axis(xs: Sequence[float]) -> Scale:
    start, end = _LEFT + 10, WIDTH - _RIGHT - 10
    positive = [x for x in xs if x > 0]
    if len(xs) < 2:
        centre = xs[0] if xs else 0.0
        return Scale(low=centre - 1, high=centre + 1, start=start, end=end)
    bends = bool(positive) and xs[0] >= 0 and positive[-1] / positive[0] >= _SPREAD
    return Scale(low=xs[0], high=xs[-1], start=start, end=end, bend=positive[0] if bends else 0.0)


def _apart(values: Sequence[float], axis: Scale) -> list[float]:
    """Keep the values whose numbers do not touch, the last one always."""
    kept: list[float] = []
    for value in reversed(values):
        if not kept or axis.at(kept[-1]) - axis.at(value) >= 30:
            kept.append(value)
    return kept[::-1]


def _frame(x_axis: Scale, y_axis: Scale, x_ticks: Sequence[float], height: float, unit: str) -> Markup:
    bottom = height - _BOTTOM
    parts = [line(_LEFT, y_axis.at(tick), WIDTH - _RIGHT, y_axis.at(tick), "grid") for tick in ticks(y_axis)]
    parts += [words(_LEFT - 6, y_axis.at(t) + 4, _tick(t, unit), "tick", anchor="end") for t in ticks(y_axis)]
    parts += [line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis")]
    for tick in x_ticks:
        x = x_axis.at(tick)
        parts.append(line(x, bottom, x, bottom + 4, "axis"))
        parts.append(words(x, bottom + 17, _number(tick), "tick", anchor="middle"))
    return join(parts)


def _axis_labels(x_label: str, y_label: str, height: float) -> tuple[Markup, Markup]:
    return (
        words(WIDTH - _RIGHT, height - 6, x_label, "label", anchor="end", width=WIDTH - 40),
        words(0, _TOP, y_label, "label", width=WIDTH),
    )


def _dot(mark: Mark, axis: Scale, y: float) -> Markup:
    if math.isnan(mark.y):
        return words(14, y + 4, "not measured", "note")
    x = axis.at(mark.y)
    bars = cross_bars(mark.slot, (x, y), _ends(mark.low, mark.high, axis), _NO_BAR)
    return titled(mark.title, bars, marker(mark.slot, x, y, hollow=mark.hollow))


def _ends(low: float, high: float, axis: Scale) -> tuple[float, float]:
    return (axis.at(low), axis.at(high)) if math.isfinite(low + high) else _NO_BAR


def _point(mark: Mark, x_axis: Scale, y_axis: Scale) -> Markup:
    x, y = x_axis.at(mark.x), y_axis.at(mark.y)
    bars = cross_bars(mark.slot, (x, y), _ends(mark.x_low, mark.x_high, x_axis), _ends(mark.low, mark.high, y_axis))
    return titled(mark.title, bars, marker(mark.slot, x, y, hollow=mark.hollow))


def _names(marks: Sequence[Mark], x_axis: Scale, y_axis: Scale) -> list[Markup]:
    """Write each name beside its mark, where it covers no other mark and no other name; else leave it to the legend."""
    taken = [_box(x_axis.at(mark.x), y_axis.at(mark.y), 14, 14) for mark in marks]
    drawn = []
    for mark in marks:
        x, y, width = x_axis.at(mark.x), y_axis.at(mark.y), 6.6 * len(mark.name)
        for side, rise in ((1, -10), (-1, -10), (1, 12), (-1, 12)):
            box = _box(x + side * (10 + width / 2), y + rise, width, 13)
            if box[0] > _LEFT and box[2] < WIDTH and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                anchor = "start" if side > 0 else "end"
                drawn.append(words(x + side * 10, y + rise + 4, mark.name, "label", anchor=anchor))
                break
    return drawn


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _tick(value: float, unit: str) -> str:
    if unit == "share":
        return f"{_clean(value * 100):g}{wording.NARROW}%"
    return _number(value)


def _number(value: float) -> str:
    return wording.number(value) if abs(value) >= 1000 else f"{_clean(value):g}".replace("-", wording.MINUS)


def _clean(value: float) -> float:
    return float(f"{value:.10g}")
