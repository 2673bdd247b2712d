"""Shares with their intervals, and the record of any number that has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.record import Comparison, Record
from ..core.statistics import Interval, wilson

FAILED = "failed: "  # how a flag begins that says what was tried and broke


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


def missing(
    engine: str, condition: str, metric: str, reason: str, seed: int, identity: Mapping[str, Any] | None = None
) -> Record:
    """Give the row of what cannot be measured here: no images, and the reason as a flag."""
    flags = (f"missing: {reason}",)
    return record(engine, condition, metric, wilson(0, 0), seed, flags=flags, identity=identity)


def failed(
    engine: str, condition: str, metric: str, error: object, seed: int, identity: Mapping[str, Any] | None = None
) -> Record:
    """Give the row of what was tried and broke: no images, and the error's sentence as a flag."""
    flags = (f"{FAILED}{error}",)
    return record(engine, condition, metric, wilson(0, 0), seed, flags=flags, identity=identity)


def any_failed(records: Iterable[Record]) -> bool:
    """Tell whether something was tried and broke; what cannot be measured here does not count."""
    return any(flag.startswith(FAILED) for record in records for flag in record.flags)
