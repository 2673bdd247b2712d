"""Calibrated under one preprocessing, served under another: every pair, as a matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ..calib.calibrate import calibrate
from ..core.errors import InputError
from ..core.files import sha256_bytes
from ..core.provenance import available_cores
from ..core.ranges import RangeTable
from ..core.record import Record
from ..export.onnx_file import serialize
from ..export.qdq import quantize
from ..inputs.dataset import Dataset
from .calibration_records import FLOAT
from .calibration_study import range_ratio
from .decoded_sets import Images, Way, prepared_batches
from .finished_cells import FinishedCells
from .model_target import model_target
from .paired import with_verdicts
from .rates import failed, missing
from .served import Progress, Served, serve
from .served_records import accuracy, change, flips
from .set_recipes import loading
from .target import Target

_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class MismatchPlan:
    """How the engines of a matrix are built.

    Attributes:
        method: Calibration method.
        precision: What is built, e.g. ``w8a8``.
        seed: Seed of the bootstrap.
        threads: Threads of calibration and engines; None for all.
    """

    method: str = "minmax"
    precision: str = "w8a8"
    seed: int = 0
    threads: int | None = None


def preset_mismatch(
    model: ModelProto,
    calibration: Dataset,
    data: Dataset,
    ways: Sequence[Way],
    plan: MismatchPlan,
    progress: Progress | None = None,
    finished: FinishedCells | None = None,
) -> list[Record]:
    """Calibrate one engine for every way on the same images, and serve the same other images to each in every way.

    Engine ``calibrated A`` in condition ``B``. Metrics: ``accuracy``, off the diagonal tested against the engine
    calibrated as it is served (``calibrated B`` on the same pixels: what the wrong calibration costs), on it against
    the float model; ``serving_change``, accuracy as B minus accuracy as A of the same engine (what the wrong serving
    costs; for the float model, against the first way); ``flips``, answers that differ from ``calibrated B``'s. Holm
    runs over all tests. The identity names the median ratio of A's ranges to B's.

    Args:
        model: The prepared float model.
        calibration: Images to calibrate with, at least one decodable.
        data: Labelled images, none of them among ``calibration``.
        ways: At least two; the model's own first.
        plan: How to build.
        progress: Called with (images served, all).
        finished: Where each way's ranges, and each engine's answers, are looked for, and kept; None for nowhere.

    Returns:
        The records, float first; a way that cannot run and an engine that breaks are records of n 0 with the reason.

    Raises:
        InputError: If fewer than two ways can run, or no image can be prepared.
    """
    reasons = {way.name: reason for way in ways if (reason := way.pipeline.missing)}
    able = [way for way in ways if way.name not in reasons]
    if len(able) < 2:
        raise InputError(f"Expected two presets or more that can run here, got {len(able)}. Name others.")
    finished = finished or FinishedCells()
    tables = _tables(model, calibration, able, plan, finished)
    with ExitStack() as stack:
        models = {FLOAT: model} | {_engine(n): quantize(model, t, precision=plan.precision) for n, t in tables.items()}
        targets = [
            _named(stack.enter_context(model_target(each, able[0].pipeline, threads=plan.threads)), name)
            for name, each in models.items()
        ]
        served = serve(data, able, targets, progress=progress, finished=finished)
    found = [*_float_records(served, plan.seed), *_matrix(served, tables, plan.seed)]
    found += [missing(_engine(name), name, "accuracy", reason, plan.seed) for name, reason in reasons.items()]
    found += [failed(name, "every way", "accuracy", reason, plan.seed) for name, reason in served.broken.items()]
    return with_verdicts(found)


def _engine(way: str) -> str:
    return f"calibrated {way}"


def _named(target: Target, name: str) -> Target:
    return replace(target, name=name)


def _tables(
    model: ModelProto, calibration: Dataset, ways: Sequence[Way], plan: MismatchPlan, finished: FinishedCells
) -> dict[str, RangeTable]:
    """Choose ranges for every way on the images that all ways can prepare."""
    prepared = cache(partial(_prepared, calibration, ways))
    source = sha256_bytes(serialize(model))
    shown = {way.name: loading(calibration.samples, way.pipeline) for way in ways}
    tables = {}
    for way in ways:
        cell = {
            "study": "calibrated",
            "model": source,
            "method": plan.method,
            "shown": shown,
            "way": [way.name, way.pipeline.to_json()],
        }
        if (found := finished.find(cell)) is not None:
            tables[way.name] = RangeTable.from_json(found)
            continue
        tables[way.name] = _table(model, source, prepared()[way.name], way, calibration, plan)
        finished.keep(cell, tables[way.name].to_json())
    return tables


def _prepared(calibration: Dataset, ways: Sequence[Way]) -> dict[str, Images]:
    """Prepare the images in every way, each file decoded once for each decoder."""
    steps = list(prepared_batches(calibration, ways, batch=_BATCH, threads=available_cores()))
    images = {way.name: np.concatenate([step.images[way.name] for step in steps]) for way in ways}
    if not len(images[ways[0].name]):
        raise InputError(f"No calibration image can be prepared; the first: {steps[0].failures[0].reason}")
    return images


def _table(
    model: ModelProto, source: str, images: Images, way: Way, calibration: Dataset, plan: MismatchPlan
) -> RangeTable:
    def batches() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(images), _BATCH):
            yield way.pipeline.tensor(images[start : start + _BATCH])

    (ranges,) = calibrate(model, batches, methods=[plan.method], threads=plan.threads).values()
    return RangeTable(
        method=plan.method,
        images=len(images),
        model_sha256=source,
        data_sha256=calibration.manifest_sha256,
        preset=way.name,
        ranges=ranges,
    )


def _float_records(served: Served, seed: int) -> Iterator[Record]:
    for way in () if FLOAT in served.broken else served.ways:
        yield accuracy(served, FLOAT, way, None, seed)
        if way != served.ways[0]:
            yield change(served, FLOAT, way, served.ways[0], "serving_change", seed)


def _matrix(served: Served, tables: Mapping[str, RangeTable], seed: int) -> Iterator[Record]:
    for calibrated in (way for way in served.ways if _engine(way) not in served.broken):
        engine = _engine(calibrated)
        for way in served.ways:
            diagonal = way == calibrated
            reference = FLOAT if diagonal else _engine(way)
            whole = reference not in served.broken
            found = accuracy(served, engine, way, reference if whole else None, seed)
            ratio = range_ratio(tables[calibrated].ranges, tables[way].ranges)
            yield replace(found, identity={"calibrated": calibrated, "served": way, "range_ratio": ratio})
            if not diagonal:
                yield change(served, engine, way, calibrated, "serving_change", seed)
                if whole:
                    yield flips(served, (engine, way), (reference, way), seed)
