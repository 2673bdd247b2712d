"""What the choice of calibration images does to the engine: clean, robust, and in agreement with the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ..calib.calibrate import calibrate
from ..core.errors import InputError, RobustMQError
from ..core.files import sha256_bytes, sha256_json
from ..core.provenance import available_cores
from ..core.ranges import RangeTable
from ..core.record import Record
from ..export.onnx_file import serialize
from ..export.qdq import quantize
from ..inputs.pipeline import Pipeline
from .calibration_records import FLOAT, Outcome, study_records
from .calibration_sets import CalibrationSet
from .finished_cells import FinishedCells
from .model_target import model_target
from .rates import failed, missing
from .target import answers, not_finite, scores

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Exam:
    """What every engine of a study is asked; nothing of it was calibrated with.

    Attributes:
        images: (N, H, W, 3) uint8 at model size.
        adversarials: The same images attacked once, on another model than the engines.
        labels: (N,) int64.
        attack: Name of the attack, e.g. ``mifgsm:eps=2,steps=10``.
    """

    images: Images
    adversarials: Images
    labels: NDArray[np.int64]
    attack: str

    @property
    def sha256(self) -> str:
        """Hash of the questions."""
        return sha256_json([sha256_bytes(each.tobytes()) for each in (self.images, self.adversarials, self.labels)])


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """How a study builds its engines.

    Attributes:
        methods: Calibration methods; all come out of one pass over each set.
        precision: What is built, e.g. ``w8a8``.
        seed: Seed of the bootstrap.
        threads: Threads of calibration and engine; None for all.
    """

    methods: Sequence[str]
    precision: str = "w8a8"
    seed: int = 0
    threads: int | None = None


def calibration_study(
    model: ModelProto,
    sets: Sequence[CalibrationSet],
    exam: Exam,
    plan: StudyPlan,
    progress: Progress | None = None,
    finished: FinishedCells | None = None,
) -> list[Record]:
    """Build one engine for every set and method, ask each the same questions, and test it against the baseline.

    Metrics over the N images: ``accuracy`` (clean), ``robust_accuracy`` (right before and under the attack),
    ``agreement`` (same answer as the float model) and ``logit_error`` (mean of ``Outcome.error``; the most sensitive,
    tested by the paired z-test, less is better). Each is compared with the first set's engine of the same method
    on the same images; Holm runs over all comparisons of the study.

    Args:
        model: The prepared float model.
        sets: The first is the baseline; the ones that are missing give a record with a reason.
        exam: The questions; its images may be in no set.
        plan: Methods, precision, seed, threads.
        progress: Called with the name of each set before it is used.
        finished: Where what came of a set and method is looked for, and kept; None for nowhere.

    Returns:
        The records of the float model (engine ``float``), then of every set and method (engine ``SET/METHOD``). The
        identity of a record names set, method, images and ``range_ratio``: the median over tensors of this range's
        width over the baseline's. A set that is missing or cannot be calibrated with, and an engine that fails, are
        records of n 0, the reason a flag; nothing is compared with a baseline's engine that failed.

    Raises:
        InputError: If the baseline is missing or cannot be calibrated with.
        EngineError: If the float model fails.
    """
    if not sets or sets[0].missing:
        raise InputError(f"The baseline cannot be had: {sets[0].missing if sets else 'there is no set'}.")
    study = _Study(model, sets[0].pipeline, exam, plan, finished or FinishedCells())
    for entry in (each for each in sets if not each.missing):
        if progress is not None:
            progress(entry.name)
        study.add(entry)
    unavailable = [
        missing(entry.name, "clean", "accuracy", entry.missing, plan.seed, {"set": entry.name})
        for entry in sets
        if entry.missing
    ]
    found = study_records(study.outcomes, baseline=sets[0].name, attack=exam.attack, seed=plan.seed)
    return [*found, *study.failures, *unavailable]


class _Study:
    """The float model's answers, and those of every engine added so far."""

    def __init__(
        self, model: ModelProto, pipeline: Pipeline, exam: Exam, plan: StudyPlan, finished: FinishedCells
    ) -> None:
        self._model, self._pipeline, self._exam, self._plan, self._finished = model, pipeline, exam, plan, finished
        self._common = {
            "study": "calibration-study",
            "model": sha256_bytes(serialize(model)),
            "pipeline": pipeline.to_json(),
            "exam": exam.sha256,
            "precision": plan.precision,
            "seed": plan.seed,
        }
        self._reference = _scores(model, pipeline, exam, plan)
        self._baseline: dict[str, RangeTable] = {}
        self.outcomes = {FLOAT: _outcome(self._reference, self._reference, exam, {"set": FLOAT})}
        self.failures: list[Record] = []

    def add(self, entry: CalibrationSet) -> None:
        cells = {m: {**self._common, "set": entry.data_sha256, "method": m} for m in self._plan.methods}
        found = {method: self._finished.find(cell) for method, cell in cells.items()}
        try:
            tables = _tables(self._model, entry, self._plan) if None in found.values() else {}
        except RobustMQError as error:
            if not self._baseline:
                raise
            self._fail(entry.name, error, {"set": entry.name})
            return
        for method, cell in cells.items():
            if (kept := found[method]) is None:
                self._build(entry, tables[method], cell)
            else:
                self._take(entry, kept)

    def _take(self, entry: CalibrationSet, kept: Mapping[str, Any]) -> None:
        table = RangeTable.from_json(kept["table"])
        self.outcomes[f"{entry.name}/{table.method}"] = Outcome.from_json(kept["outcome"], self._identity(entry, table))

    def _build(self, entry: CalibrationSet, table: RangeTable, cell: Mapping[str, Any]) -> None:
        identity, name = self._identity(entry, table), f"{entry.name}/{table.method}"
        try:
            engine = quantize(self._model, table, precision=self._plan.precision)
            answers = _scores(engine, self._pipeline, self._exam, self._plan)
        except RobustMQError as error:
            self._fail(name, error, identity)
            return
        self.outcomes[name] = _outcome(answers, self._reference, self._exam, identity)
        self._finished.keep(cell, {"table": table.to_json(), "outcome": self.outcomes[name].to_json()})

    def _identity(self, entry: CalibrationSet, table: RangeTable) -> dict[str, Any]:
        first = self._baseline.setdefault(table.method, table)
        return {
            "set": entry.name,
            "method": table.method,
            "images": table.images,
            "range_ratio": range_ratio(table.ranges, first.ranges),
            "data_sha256": table.data_sha256,
        }

    def _fail(self, name: str, error: RobustMQError, identity: Mapping[str, Any]) -> None:
        self.failures.append(failed(name, "clean", "accuracy", error, self._plan.seed, identity))


def range_ratio(ranges: Mapping[str, tuple[float, float]], baseline: Mapping[str, tuple[float, float]]) -> float:
    """Give the median over tensors of the width against the baseline's, zero included; tensors of no width left out."""
    pairs = ((_width(ranges[name]), _width(bounds)) for name, bounds in baseline.items() if name in ranges)
    ratios = [width / before for width, before in pairs if before]
    return float(np.median(ratios)) if ratios else 1.0


def _width(bounds: tuple[float, float]) -> float:
    return max(bounds[1], 0.0) - min(bounds[0], 0.0)


def _tables(model: ModelProto, entry: CalibrationSet, plan: StudyPlan) -> dict[str, RangeTable]:
    seen = 0

    def batches() -> Iterator[NDArray[np.float32]]:
        nonlocal seen
        for batch in entry.batches(available_cores()):
            seen += len(batch)
            yield batch

    found = calibrate(model, batches, methods=plan.methods, threads=plan.threads)
    source = sha256_bytes(serialize(model))
    return {
        method: RangeTable(
            method=method,
            images=seen,
            model_sha256=source,
            data_sha256=entry.data_sha256,
            preset=entry.pipeline.name,
            ranges=ranges,
        )
        for method, ranges in found.items()
    }


@dataclass(frozen=True, kw_only=True)
class _Scores:
    clean: Floats
    attacked: Floats


def _scores(model: ModelProto, pipeline: Pipeline, exam: Exam, plan: StudyPlan) -> _Scores:
    with model_target(model, pipeline, threads=plan.threads) as target:
        return _Scores(clean=scores(target, exam.images), attacked=scores(target, exam.adversarials))


def _outcome(found: _Scores, reference: _Scores, exam: Exam, identity: Mapping[str, Any]) -> Outcome:
    clean, expected, attacked = (answers(each) for each in (found.clean, reference.clean, found.attacked))
    finite = clean.finite & expected.finite
    right = clean.right(exam.labels)
    spread = (
        float(reference.clean[expected.finite].std(axis=1, dtype=np.float64).mean()) if expected.finite.any() else 0
    )
    with np.errstate(invalid="ignore"):
        distance = np.sqrt(np.square(found.clean - reference.clean, dtype=np.float64).mean(axis=1))
    return Outcome(
        clean=right,
        held=right & attacked.right(exam.labels),
        same=finite & (clean.prediction == expected.prediction),
        error=np.where(finite, distance / (spread or 1.0), np.nan),
        identity=identity,
        flags=not_finite(finite & attacked.finite),
    )
