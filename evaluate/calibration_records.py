"""From the answers of a calibration study to records: rates, paired comparisons with the baseline, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.record import Record
from ..core.statistics import Interval, paired_bootstrap, wilson
from .paired import compare, with_verdicts

FLOAT = "float"
"""Engine name of the model before quantization."""

METRICS = ("accuracy", "robust_accuracy", "agreement", "logit_error")
LESS_IS_BETTER = "logit_error"

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
                    comparison=None
                    if before is None
                    else compare(str(first), values, before, seed, less_is_better=metric == LESS_IS_BETTER),
                )
            )
    return with_verdicts(found, less_is_better=(LESS_IS_BETTER,))


def _metrics(outcome: Outcome, reference: Outcome | None) -> Iterator[tuple[str, Values, Values | None]]:
    before = reference or outcome
    places = ((each.clean, each.held, each.same, each.error) for each in (outcome, before))
    for metric, own, other in zip(METRICS, *places, strict=True):
        yield metric, own, None if reference is None else other


def _interval(values: Values, seed: int) -> Interval:
    if values.dtype == np.bool_:
        return wilson(int(values.sum()), values.size)
    return paired_bootstrap(values.astype(np.float64), np.zeros(values.size), seed=seed)


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
