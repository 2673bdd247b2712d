"""From the answers of a calibration study to records: rates, paired comparisons with the baseline, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.record import Comparison, Record
from ..core.statistics import Interval, holm, paired_bootstrap, paired_difference, wilson

FLOAT = "float"
"""Engine name of the model before quantization."""

METRICS = ("accuracy", "robust_accuracy", "agreement", "logit_error")
LESS_IS_BETTER = "logit_error"
_SIGNIFICANCE = 0.05

Bools = NDArray[np.bool_]
Values = NDArray[np.bool_] | NDArray[np.float64]


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


def study_records(outcomes: Mapping[str, Outcome], *, baseline: str, attack: str, seed: int) -> list[Record]:
    """Give every metric of every engine, compared with the baseline set's engine of the same method.

    Args:
        outcomes: Engine name, ``float`` or ``SET/METHOD``, to its answers; the identity names the method.
        baseline: Name of the set to compare with.
        attack: Condition of ``robust_accuracy``.
        seed: Seed of the bootstrap.
    """
    found = []
    for engine, outcome in outcomes.items():
        first = None if engine == FLOAT else f"{baseline}/{outcome.identity['method']}"
        reference = None if first in (None, engine) else outcomes[str(first)]
        for metric, values, before in _metrics(outcome, reference):
            rate = _interval(values, seed)
            found.append(
                Record(
                    engine=engine,
                    condition=attack if metric == "robust_accuracy" else "clean",
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
    """Compare shares by McNemar's test, mean errors by the paired z-test; gained are images whose error is smaller."""
    if values.dtype == np.bool_:
        difference = paired_difference(values.astype(np.bool_), before.astype(np.bool_), seed=seed)
        gained, lost, detectable = difference.wrong_to_right, difference.right_to_wrong, difference.detectable
        bounds = (difference.difference, difference.low, difference.high)
        p_value = difference.p_value
    else:
        change = values.astype(np.float64) - before
        interval = paired_bootstrap(values.astype(np.float64), before.astype(np.float64), seed=seed)
        gained, lost = int((change < 0).sum()), int((change > 0).sum())
        spread = float(change.std() / np.sqrt(change.size))
        detectable = 2.8 * spread
        bounds = (interval.value, interval.low, interval.high)
        p_value = 2 * NormalDist().cdf(-abs(interval.value) / spread) if spread else float(interval.value == 0)
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
        record
        if record.comparison is None
        else replace(
            record,
            comparison=_decided(record.comparison, next(adjusted), less_is_better=record.metric == LESS_IS_BETTER),
        )
        for record in found
    ]


def _decided(comparison: Comparison, p_holm: float, *, less_is_better: bool) -> Comparison:
    if p_holm >= _SIGNIFICANCE:
        return replace(comparison, p_holm=p_holm)
    better = (comparison.difference > 0) != less_is_better
    return replace(comparison, p_holm=p_holm, verdict="better" if better else "worse")


def missing_record(name: str, reason: str, *, seed: int) -> Record:
    """Give the record of a set that could not be had: no images, and the reason as a flag."""
    nothing = wilson(0, 0)
    return Record(
        engine=name,
        condition="clean",
        metric="accuracy",
        value=nothing.value,
        low=nothing.low,
        high=nothing.high,
        n=0,
        seed=seed,
        flags=(f"missing: {reason}",),
        identity={"set": name},
    )
