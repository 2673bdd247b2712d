"""RobustMQ's systematic noise: the spread of an engine's accuracy over decoders and resizes, and what flips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.record import Record
from ..inputs.pipeline import Pipeline
from ..inputs.systematic_grid import ROBUSTMQ_GRID
from .decoded_sets import Way
from .paired import Floats, Statistic, compare, compare_statistic, statistic_interval, with_verdicts
from .rates import failed, missing, record, share
from .served import Served
from .served_records import accuracy, flips

REFERENCE_CELL = "pillow/pillow-bilinear"
"""The cell that flips are counted against: what most networks are trained with."""

GRID = "grid"
"""The condition of what is said about all cells together."""

_PREFIX = "robustmq:"


def grid_ways(pipeline: Pipeline) -> list[Way]:
    """Give every cell of RobustMQ's grid for a model: its decoder and resize, the model's size and normalisation.

    Args:
        pipeline: The model's own preprocessing.
    """
    return [
        Way(name=name.removeprefix(_PREFIX), pipeline=pipeline.with_geometry_of(cell))
        for name, cell in ROBUSTMQ_GRID.items()
    ]


def systematic_records(served: Served, engines: Sequence[str], *, seed: int = 0) -> list[Record]:
    """Give every cell's accuracy, and what the grid says about each engine.

    Per cell: ``accuracy``, and ``flips``, the share of images answered otherwise than in ``REFERENCE_CELL``. Over the
    grid, with C cells and A_c the accuracy in cell c: ``mean_accuracy`` and ``std_accuracy`` (population) of A_c,
    RobustMQ's SR; ``worst_cell`` and ``best_cell``, its extremes (the record names them); ``every_cell_accuracy``, the
    share of images right in all cells; ``largest_flips``, the share answered differently by the two cells that
    disagree most. Their intervals resample whole images, and choose the extreme anew each time.

    The first engine is the reference of the paired tests: McNemar's for shares of images, the paired bootstrap for
    statistics over cells. Holm runs over all of them. Cells that equal another in every pixel share its answers; the
    identity of the grid's records counts the different ones.

    Args:
        served: Answers over the ways of `grid_ways`, or others that include ``REFERENCE_CELL``.
        engines: Names, the reference first.
        seed: Seed of the bootstrap.

    Returns:
        The records; a cell that cannot run and an engine that broke are records of n 0, the reason a flag.

    Reference:
        RobustMQ (Xiao et al. 2023, arXiv 2308.02350) sec. 3: mean and deviation over decoders and resizes. Accuracies
        here are on the same images, so the deviation holds chance only where answers differ between cells.
    """
    found = []
    for engine in engines:
        if engine in served.broken:
            found.append(failed(engine, GRID, "accuracy", served.broken[engine], seed))
            continue
        reference = None if engine == engines[0] or engines[0] in served.broken else engines[0]
        found += [*_cells(served, engine, reference, seed), *_grid(served, engine, reference, seed)]
        found += [missing(engine, way, "accuracy", reason, seed) for way, reason in served.missing.items()]
    return with_verdicts(found, less_is_better=("std_accuracy",))


def _cells(served: Served, engine: str, reference: str | None, seed: int) -> Iterator[Record]:
    for way in served.ways:
        yield accuracy(served, engine, way, reference, seed)
        if way != REFERENCE_CELL:
            yield flips(served, (engine, way), (engine, REFERENCE_CELL), seed)


def _grid(served: Served, engine: str, reference: str | None, seed: int) -> Iterator[Record]:
    table = _table(served, engine)
    before = None if reference is None else _table(served, reference)
    means = table.mean(axis=0)
    cells = {"cells": len(served.ways), "different_cells": len(set(served.pixels.values()))}
    extremes = {"worst_cell": served.ways[int(means.argmin())], "best_cell": served.ways[int(means.argmax())]}
    for metric, statistic in _STATISTICS.items():
        comparison = None if before is None else compare_statistic(str(reference), table, before, statistic, seed)
        identity = {**cells, "cell": extremes[metric]} if metric in extremes else cells
        yield record(engine, GRID, metric, statistic_interval(table, statistic, seed), seed, comparison, identity)
    every = _in_every(table)
    comparison = None if before is None else compare(str(reference), every, _in_every(before), seed)
    yield record(engine, GRID, "every_cell_accuracy", share(every), seed, comparison, cells)
    if len(served.ways) > 1:
        yield _largest_flips(served, engine, cells, seed)


def _in_every(table: NDArray[np.bool_]) -> NDArray[np.bool_]:
    every: NDArray[np.bool_] = np.logical_and.reduce(table, axis=1)
    return every


def _largest_flips(served: Served, engine: str, identity: Mapping[str, Any], seed: int) -> Record:
    def differs(pair: tuple[str, str]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = served.answers[engine, pair[0]] != served.answers[engine, pair[1]]
        return found

    pair = max(combinations(served.ways, 2), key=lambda pair: int(differs(pair).sum()))
    identity = {**identity, "cell": " against ".join(pair)}
    return record(engine, GRID, "largest_flips", share(differs(pair)), seed, identity=identity)


def _mean(means: Floats) -> Floats:
    average: Floats = means.mean(axis=1)
    return average


def _deviation(means: Floats) -> Floats:
    deviation: Floats = means.std(axis=1)
    return deviation


def _least(means: Floats) -> Floats:
    least: Floats = means.min(axis=1)
    return least


def _most(means: Floats) -> Floats:
    most: Floats = means.max(axis=1)
    return most


_STATISTICS: Mapping[str, Statistic] = {
    "mean_accuracy": _mean,
    "std_accuracy": _deviation,
    "worst_cell": _least,
    "best_cell": _most,
}


def _table(served: Served, engine: str) -> NDArray[np.bool_]:
    return np.stack([served.right(engine, way) for way in served.ways], axis=1)
