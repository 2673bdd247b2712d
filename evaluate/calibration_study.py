"""What the choice of calibration images does to the engine: clean, robust, and in agreement with the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ..calib.calibrate import calibrate
from ..core.errors import InputError
from ..core.files import sha256_bytes
from ..core.provenance import available_cores
from ..core.ranges import RangeTable
from ..core.record import Comparison, Record
from ..core.statistics import Interval, holm, mcnemar_exact, paired_bootstrap, paired_difference, wilson
from ..export.onnx_file import serialize
from ..export.qdq import quantize
from ..inputs.pipeline import Pipeline
from .calibration_sets import CalibrationSet
from .model_target import model_target
from .target import scores

FLOAT = "float"
"""Engine name of the model before quantization."""

METRICS = ("accuracy", "robust_accuracy", "agreement", "logit_error")
_SIGNIFICANCE = 0.05

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Values = NDArray[np.bool_] | NDArray[np.float64]
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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One engine's answers; all arrays are (N,).

    Attributes:
        clean: bool, whether it is right on the image.
        held: bool, whether it is right on the image and under the attack.
        same: bool, whether it answers the image as the float model does.
        error: float64, root mean square difference of its scores from the float model's, over the spread (standard
            deviation over classes, mean over images) of the float model's.
        identity: What the engine is made of.
    """

    clean: Bools
    held: Bools
    same: Bools
    error: NDArray[np.float64]
    identity: Mapping[str, Any]


def calibration_study(
    model: ModelProto,
    sets: Sequence[CalibrationSet],
    exam: Exam,
    plan: StudyPlan,
    progress: Progress | None = None,
) -> list[Record]:
    """Build one engine for every set and method, ask each the same questions, and test it against the baseline.

    Metrics over the N images: ``accuracy`` (clean), ``robust_accuracy`` (right before and under the attack),
    ``agreement`` (same answer as the float model) and ``logit_error`` (mean of ``Outcome.error``; the most sensitive,
    tested by the sign test on images, less is better). Each is compared with the first set's engine of the same method
    on the same images; Holm runs over all comparisons of the study.

    Args:
        model: The prepared float model.
        sets: The first is the baseline; the ones that are missing give a record with a reason.
        exam: The questions; its images may be in no set.
        plan: Methods, precision, seed, threads.
        progress: Called with the name of each set before it is used.

    Returns:
        The records of the float model (engine ``float``), then of every set and method (engine ``SET/METHOD``). The
        identity of a record names set, method, images and ``range_ratio``: the median over tensors of this range's
        width over the baseline's.

    Raises:
        InputError: If the baseline is missing, or a set cannot be calibrated with.
    """
    if not sets or sets[0].missing:
        raise InputError(f"The baseline cannot be had: {sets[0].missing if sets else 'there is no set'}.")
    pipeline = sets[0].pipeline
    reference = _scores(model, pipeline, exam, plan)
    outcomes = {FLOAT: _outcome(reference, reference, exam, {"set": FLOAT})}
    baseline: dict[str, RangeTable] = {}
    for entry in (each for each in sets if not each.missing):
        if progress is not None:
            progress(entry.name)
        for table in _tables(model, entry, plan):
            first = baseline.setdefault(table.method, table)
            answers = _scores(quantize(model, table, precision=plan.precision), pipeline, exam, plan)
            identity = {
                "set": entry.name,
                "method": table.method,
                "images": table.images,
                "range_ratio": range_ratio(table.ranges, first.ranges),
                "data_sha256": table.data_sha256,
            }
            outcomes[f"{entry.name}/{table.method}"] = _outcome(answers, reference, exam, identity)
    missing = [_missing(entry, exam, plan) for entry in sets if entry.missing]
    return [*_records(outcomes, sets[0].name, exam, plan.seed), *missing]


def range_ratio(ranges: Mapping[str, tuple[float, float]], baseline: Mapping[str, tuple[float, float]]) -> float:
    """Give the median over tensors of the width against the baseline's, zero included; tensors of no width left out."""
    pairs = ((_width(ranges[name]), _width(bounds)) for name, bounds in baseline.items() if name in ranges)
    ratios = [width / before for width, before in pairs if before]
    return float(np.median(ratios)) if ratios else 1.0


def _width(bounds: tuple[float, float]) -> float:
    return max(bounds[1], 0.0) - min(bounds[0], 0.0)


def _tables(model: ModelProto, entry: CalibrationSet, plan: StudyPlan) -> Iterator[RangeTable]:
    seen = 0

    def batches() -> Iterator[NDArray[np.float32]]:
        nonlocal seen
        for batch in entry.batches(available_cores()):
            seen += len(batch)
            yield batch

    found = calibrate(model, batches, methods=plan.methods, threads=plan.threads)
    source = sha256_bytes(serialize(model))
    for method, ranges in found.items():
        yield RangeTable(
            method=method,
            images=seen,
            model_sha256=source,
            data_sha256=entry.data_sha256,
            preset=entry.pipeline.name,
            ranges=ranges,
        )


@dataclass(frozen=True, kw_only=True)
class _Scores:
    clean: Floats
    attacked: Floats


def _scores(model: ModelProto, pipeline: Pipeline, exam: Exam, plan: StudyPlan) -> _Scores:
    with model_target(model, pipeline, threads=plan.threads) as target:
        return _Scores(clean=scores(target, exam.images), attacked=scores(target, exam.adversarials))


def _answers(found: Floats) -> NDArray[np.int64]:
    return np.where(np.isfinite(found).all(axis=1), found.argmax(axis=1), -1)


def _outcome(found: _Scores, reference: _Scores, exam: Exam, identity: Mapping[str, Any]) -> Outcome:
    answers, expected = _answers(found.clean), _answers(reference.clean)
    clean = answers == exam.labels
    spread = float(reference.clean.std(axis=1, dtype=np.float64).mean()) or 1.0
    return Outcome(
        clean=clean,
        held=clean & (_answers(found.attacked) == exam.labels),
        same=(answers == expected) & (answers >= 0),
        error=np.sqrt(np.square(found.clean - reference.clean, dtype=np.float64).mean(axis=1)) / spread,
        identity=identity,
    )


def _records(outcomes: Mapping[str, Outcome], baseline: str, exam: Exam, seed: int) -> list[Record]:
    found = []
    for engine, outcome in outcomes.items():
        first = None if engine == FLOAT else f"{baseline}/{outcome.identity['method']}"
        reference = None if first in (None, engine) else outcomes[str(first)]
        for metric, values, before in _metrics(outcome, reference):
            rate = _interval(values, seed)
            found.append(
                Record(
                    engine=engine,
                    condition=exam.attack if metric == "robust_accuracy" else "clean",
                    metric=metric,
                    value=rate.value,
                    low=rate.low,
                    high=rate.high,
                    n=rate.n,
                    seed=seed,
                    identity=outcome.identity,
                    comparison=None if before is None else _comparison(str(first), values, before, seed),
                )
            )
    return _with_verdicts(found)


def _metrics(outcome: Outcome, reference: Outcome | None) -> Iterator[tuple[str, Values, Values | None]]:
    before = reference or outcome
    places = ((each.clean, each.held, each.same, each.error) for each in (outcome, before))
    for metric, own, other in zip(METRICS, *places, strict=True):
        yield metric, own, None if reference is None else other


def _interval(values: Values, seed: int) -> Interval:
    if values.dtype == np.bool_:
        return wilson(int(values.sum()), values.size)
    return paired_bootstrap(values.astype(np.float64), np.zeros(values.size), seed=seed)


def _comparison(name: str, values: Values, before: Values, seed: int) -> Comparison:
    """Compare shares by McNemar's test; errors by the sign test, where an image is gained if its error is smaller."""
    if values.dtype == np.bool_:
        difference = paired_difference(values.astype(np.bool_), before.astype(np.bool_), seed=seed)
        gained, lost, detectable = difference.wrong_to_right, difference.right_to_wrong, difference.detectable
        bounds = (difference.difference, difference.low, difference.high)
    else:
        change = values.astype(np.float64) - before
        interval = paired_bootstrap(values.astype(np.float64), before.astype(np.float64), seed=seed)
        gained, lost = int((change < 0).sum()), int((change > 0).sum())
        detectable = 2.8 * float(change.std() / np.sqrt(change.size))
        bounds = (interval.value, interval.low, interval.high)
    p_value = mcnemar_exact(gained, lost)
    return Comparison(
        reference=name,
        difference=bounds[0],
        low=bounds[1],
        high=bounds[2],
        p_value=p_value,
        p_holm=p_value,
        wrong_to_right=gained,
        right_to_wrong=lost,
        detectable=detectable,
        verdict="not distinguishable",
    )


def _with_verdicts(found: Sequence[Record]) -> list[Record]:
    adjusted = iter(holm([record.comparison.p_value for record in found if record.comparison is not None]))
    return [
        record if record.comparison is None else replace(record, comparison=_decided(record.comparison, next(adjusted)))
        for record in found
    ]


def _decided(comparison: Comparison, p_holm: float) -> Comparison:
    if p_holm >= _SIGNIFICANCE:
        return replace(comparison, p_holm=p_holm)
    better = comparison.wrong_to_right > comparison.right_to_wrong
    return replace(comparison, p_holm=p_holm, verdict="better" if better else "worse")


def _missing(entry: CalibrationSet, exam: Exam, plan: StudyPlan) -> Record:
    nothing = wilson(0, 0)
    return Record(
        engine=entry.name,
        condition="clean",
        metric="accuracy",
        value=nothing.value,
        low=nothing.low,
        high=nothing.high,
        n=0,
        seed=plan.seed,
        flags=(f"missing: {entry.missing}",),
        identity={"set": entry.name},
    )
