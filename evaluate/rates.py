"""Shares with their intervals, and the record of any number that has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.record import Comparison, Record
from ..core.statistics import Interval, wilson


def share(hits: NDArray[np.bool_]) -> Interval:
    """Give the share of true entries with its Wilson interval."""
    return wilson(int(hits.sum()), hits.size)


def record(
    engine: str,
    condition: str,
    metric: str,
    interval: Interval,
    seed: int,
    comparison: Comparison | None = None,
    identity: Mapping[str, Any] | None = None,
    flags: tuple[str, ...] = (),
    unit: str = "share",
) -> Record:
    """Give the record of a number that comes with its interval and n."""
    return Record(
        engine=engine,
        condition=condition,
        metric=metric,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        seed=seed,
        unit=unit,
        flags=flags,
        identity=identity or {},
        comparison=comparison,
    )
