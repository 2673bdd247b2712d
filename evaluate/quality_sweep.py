"""What storing images as JPEG once more costs each engine, from the best quality to the worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.record import Record
from ..core.statistics import Interval
from ..inputs.pipeline import Pipeline
from .decoded_sets import Way
from .paired import compare, with_verdicts
from .rates import failed, record
from .served import Served
from .served_records import accuracy, change, flips

QUALITIES = (100, 95, 90, 85, 75, 50, 30, 10)
"""libjpeg's qualities, 4:2:0, encoded at the stored size before the resize."""

STORED = "stored"
"""The way of the files as they are."""


def quality_ways(pipeline: Pipeline, qualities: Sequence[int] = QUALITIES) -> list[Way]:
    """Give the files as they are, and decoded and encoded once more at each quality."""
    again = [Way(name=f"jpeg:{quality}", pipeline=pipeline, quality=quality) for quality in qualities]
    return [Way(name=STORED, pipeline=pipeline), *again]


def quality_records(served: Served, engines: Sequence[str], *, seed: int = 0) -> list[Record]:
    """Give what each quality does to each engine.

    Metrics: ``accuracy``, tested against the first engine at the same quality; ``accuracy_change`` against the stored
    files and ``flips`` from the answers to them, on the same engine; ``drop_difference``, what the quality costs this
    engine more than the first one (difference in differences, paired z-test; less is better). Holm runs over all.

    Args:
        served: Answers over `quality_ways`.
        engines: Names, the reference first.
        seed: Seed of the bootstrap.

    Returns:
        The records; an engine that broke is a record of n 0, the reason a flag.
    """
    found = []
    for engine in engines:
        if engine in served.broken:
            found.append(failed(engine, STORED, "accuracy", served.broken[engine], seed))
            continue
        reference = None if engine == engines[0] or engines[0] in served.broken else engines[0]
        found += [accuracy(served, engine, way, reference, seed) for way in served.ways]
        found += _against_stored(served, engine, reference, seed)
    return with_verdicts(found, less_is_better=("drop_difference",))


def _against_stored(served: Served, engine: str, reference: str | None, seed: int) -> Iterator[Record]:
    for way in (way for way in served.ways if way != STORED):
        yield change(served, engine, way, STORED, "accuracy_change", seed)
        yield flips(served, (engine, way), (engine, STORED), seed)
        if reference is not None:
            drops = _drop(served, engine, way), _drop(served, reference, way)
            found = compare(reference, *drops, seed, less_is_better=True)
            interval = Interval(value=found.difference, low=found.low, high=found.high, n=served.labels.size)
            yield record(engine, way, "drop_difference", interval, seed, found)


def _drop(served: Served, engine: str, way: str) -> NDArray[np.float64]:
    return served.right(engine, STORED).astype(np.float64) - served.right(engine, way)
