"""Range tables side by side: the union of several, and what differs between two. The table itself is `ranges.py`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

from .errors import InputError
from .files import sha256_json
from .ranges import RangeTable

Bounds = tuple[float, float]

_UNION = "+union"


@dataclass(frozen=True, kw_only=True)
class RangeChange:
    """How one tensor's range differs between two tables.

    Attributes:
        tensor: Its name.
        first: (low, high) in the first table, or None where it lacks the tensor.
        second: Likewise in the second.
        change: The farthest that an end moved, as a share of the first range's width with zero included, which is what
            a scale is made of: 0 for equal ranges, infinite where a table lacks the tensor or the first width is 0.
        overlap: Length that both share over the length that either covers, in [0, 1]; 1 for equal ranges.
    """

    tensor: str
    first: Bounds | None
    second: Bounds | None
    change: float
    overlap: float

    def to_json(self) -> dict[str, Any]:
        """Give the difference as JSON data; an infinite change becomes null."""
        document = asdict(self)
        document["change"] = self.change if math.isfinite(self.change) else None
        return document


def merge(tables: Sequence[RangeTable]) -> RangeTable:
    """Give the union of what several calibration runs saw: per tensor the lowest low and the highest high.

    For ``minmax`` this is exactly the table of one run over all the images. For any other method it is not what one run
    would have chosen, but the narrowest table that clips nothing that any of the runs kept; its method says so
    (``entropy+union``). A tensor that only some tables have keeps what these say.

    Args:
        tables: At least one; of one model, method and preset, and no two over the same images.

    Returns:
        A table over the sum of the images; ``data_sha256`` is a hash of the tables' own, in any order.

    Raises:
        InputError: If there is no table, or they do not belong together.
    """
    if not tables:
        raise InputError("Expected at least one range table to merge, got none.")
    if len(tables) == 1:
        return tables[0]
    first = tables[0]
    for other in tables[1:]:
        _check_alike(first, other)
    data = sorted(table.data_sha256 for table in tables)
    if len(set(data)) < len(data):
        raise InputError("Two of the range tables were made from the same images. Pass each run once.")
    base = first.method.removesuffix(_UNION)
    return RangeTable(
        method=base if base == "minmax" else f"{base}{_UNION}",
        images=sum(table.images for table in tables),
        model_sha256=first.model_sha256,
        data_sha256=sha256_json(data),
        preset=first.preset,
        ranges=reduce(_union, (table.ranges for table in tables)),
    )


def diff(first: Mapping[str, Bounds], second: Mapping[str, Bounds]) -> list[RangeChange]:
    """Compare two sets of ranges tensor by tensor, the largest change first, equal changes by name.

    Args:
        first: Tensor name to (low, high), e.g. ``RangeTable.ranges``.
        second: Likewise; of another method, other images, even another model with the same names.
    """
    changes = (_change(name, first.get(name), second.get(name)) for name in {*first, *second})
    return sorted(changes, key=lambda change: (-change.change, change.tensor))


def _check_alike(first: RangeTable, other: RangeTable) -> None:
    sides = (
        ("model", first.model_sha256[:12], other.model_sha256[:12]),
        ("method", first.method.removesuffix(_UNION), other.method.removesuffix(_UNION)),
        ("preset", first.preset, other.preset),
    )
    for what, ours, theirs in sides:
        if ours != theirs:
            raise InputError(
                f"Expected range tables of one {what}, got '{ours}' and '{theirs}'. Only runs that differ in nothing "
                "but their images can be merged; `ranges diff` compares others."
            )


def _union(left: Mapping[str, Bounds], right: Mapping[str, Bounds]) -> Mapping[str, Bounds]:
    return {name: _hull(side[name] for side in (left, right) if name in side) for name in {**left, **right}}


def _hull(ranges: Iterable[Bounds]) -> Bounds:
    lows, highs = zip(*ranges, strict=True)
    return min(lows), max(highs)


def _change(tensor: str, first: Bounds | None, second: Bounds | None) -> RangeChange:
    if first is None or second is None:
        return RangeChange(tensor=tensor, first=first, second=second, change=math.inf, overlap=0.0)
    moved = max(abs(second[0] - first[0]), abs(second[1] - first[1]))
    width = max(first[1], 0.0) - min(first[0], 0.0)
    change = (moved / width if width else math.inf) if moved else 0.0
    return RangeChange(tensor=tensor, first=first, second=second, change=change, overlap=_overlap(first, second))


def _overlap(first: Bounds, second: Bounds) -> float:
    if first == second:
        return 1.0
    shared = min(first[1], second[1]) - max(first[0], second[0])
    covered = max(first[1], second[1]) - min(first[0], second[0])
    return max(0.0, shared) / covered
