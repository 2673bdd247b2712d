"""Curves over strength: accuracy against severity and eps, robust accuracy against queries, with intervals."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from ..core.statistics import Interval, wilson
from .attacks.catalog import bound_name
from .conditions import Condition
from .metrics import Study

_AXES = {"severity": "severity", "eps": "eps in grey levels", "area": "area in % of the image"}
QUERY_MARKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a curve: ``x`` in the curve's unit, the rest as in `Interval`."""

    x: float
    y: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One chart: a curve per engine.

    Attributes:
        title: What is shown.
        x_label: What runs along the x axis.
        y_label: What runs along the y axis, a share.
        series: Engine to its points in order of x.
    """

    title: str
    x_label: str
    y_label: str
    series: dict[str, list[Point]]

    def to_json(self) -> dict[str, Any]:
        """Give the curve as JSON data."""
        lines = [
            {"engine": engine, "points": [asdict(point) for point in points]} for engine, points in self.series.items()
        ]
        return {"title": self.title, "x_label": self.x_label, "y_label": self.y_label, "series": lines}


def curves(study: Study) -> list[Curve]:
    """Give every curve that the run's cells allow: at least two strengths, clean included, of the same condition.

    Attacks that differ in more than their strength are on curves of their own.
    """
    families: dict[Condition, list[Condition]] = {}
    for condition in study.conditions:
        if condition.kind in ("corruption", "attack") and not condition.unsupported:
            families.setdefault(condition.without(_axis(condition)), []).append(condition)
    kinds = Counter(family.name for family in families)
    found = [
        _over_strength(study, members, family.name.replace("_", " ") if kinds[family.name] == 1 else family.label)
        for family, members in families.items()
    ]
    found += [_over_queries(study, attack) for attack in study.attacks if "queries" in dict(attack.settings)]
    return [curve for curve in found if any(len(points) > 1 for points in curve.series.values())]


def _axis(condition: Condition) -> str:
    return "severity" if condition.kind == "corruption" else bound_name(condition)


def _over_strength(study: Study, members: list[Condition], title: str) -> Curve:
    axis = _axis(members[0])
    series = {engine: _points(study, engine, members, axis) for engine in study.engines}
    x_label = f"{_AXES[axis]} (0: clean)"
    return Curve(title=title, x_label=x_label, y_label="images still right", series=series)


def _points(study: Study, engine: str, members: list[Condition], axis: str) -> list[Point]:
    clean = study.clean(engine)
    if clean is None:
        return []
    points = [_point(0, wilson(int(clean.correct[clean.valid].sum()), int(clean.valid.sum())))]
    for member in sorted(members, key=lambda condition: condition[axis]):
        cell = study.cell(engine, member.label)
        if cell is not None:
            valid = cell.valid & clean.valid
            right = cell.correct if axis == "severity" else cell.correct & clean.correct
            points.append(_point(member[axis], wilson(int(right[valid].sum()), int(valid.sum()))))
    return points


def _over_queries(study: Study, attack: Condition) -> Curve:
    marks = [mark for mark in QUERY_MARKS if mark < attack["queries"]] + [attack["queries"]]
    series = {}
    for engine in study.engines:
        cell, clean = study.cell(engine, attack.label), study.clean(engine)
        if cell is None or clean is None:
            continue
        valid = cell.valid & clean.valid
        fooled_at = cell.queries[valid & clean.correct & ~cell.correct]
        right = int((clean.correct & valid).sum())
        series[engine] = [
            _point(mark, wilson(right - int((fooled_at <= mark).sum()), int(valid.sum()))) for mark in marks
        ]
    return Curve(
        title=f"{attack.without('eps', 'queries').label} at eps {attack['eps']}/255",
        x_label="queries per image",
        y_label="images still right",
        series=series,
    )


def _point(x: float, interval: Interval) -> Point:
    return Point(x=x, y=interval.value, low=interval.low, high=interval.high, n=interval.n)
