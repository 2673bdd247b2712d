"""From the answers of a calibration study to records: rates, paired comparisons with the baseline, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.record import Comparison, Record
from ..core.statistics import Interval, paired_bootstrap, wilson
from .paired import compare, with_verdicts
from .rates import record, share

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
            deviation over classes, mean over images) of the float model's; NaN where scores are not finite.
        identity: What the engine is made of.
        flags: What must be said beside every number of it.
    """

    clean: Bools
    held: Bools
    same: Bools
    error: NDArray[np.float64]
    identity: Mapping[str, Any]
    flags: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the answers as JSON data, without the identity; a NaN becomes null."""
        error = [value if np.isfinite(value) else None for value in self.error.tolist()]
        answers = {name: getattr(self, name).tolist() for name in ("clean", "held", "same")}
        return {**answers, "error": error, "flags": list(self.flags)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], identity: Mapping[str, Any]) -> Outcome:
        """Read back what `to_json` gave."""
        return cls(
            **{name: np.array(document[name], np.bool_) for name in ("clean", "held", "same")},
            error=np.array(document["error"], np.float64),
            identity=identity,
            flags=tuple(document["flags"]),
        )


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
        first = "" if engine == FLOAT else f"{baseline}/{outcome.identity['method']}"
        reference = outcomes.get(first) if first != engine else None
        for metric, values, before in _metrics(outcome, reference):
            condition = attack if metric == "robust_accuracy" else "clean"
            comparison = _comparison(metric, first, values, before, seed)
            measured = _interval(values, seed)
            found.append(record(engine, condition, metric, measured, seed, comparison, outcome.identity, outcome.flags))
    return with_verdicts(found, less_is_better=(LESS_IS_BETTER,))


def _metrics(outcome: Outcome, reference: Outcome | None) -> Iterator[tuple[str, Values, Values | None]]:
    before = reference or outcome
    places = ((each.clean, each.held, each.same, each.error) for each in (outcome, before))
    for metric, own, other in zip(METRICS, *places, strict=True):
        yield metric, own, None if reference is None else other


def _comparison(metric: str, name: str, values: Values, before: Values | None, seed: int) -> Comparison | None:
    """Compare the images that both engines have a value for."""
    if before is None:
        return None
    both = np.isfinite(values) & np.isfinite(before)
    less_is_better = metric == LESS_IS_BETTER
    return compare(name, values[both], before[both], seed, less_is_better=less_is_better) if both.any() else None


def _interval(values: Values, seed: int) -> Interval:
    if values.dtype == np.bool_:
        return share(values.astype(np.bool_))
    known = values[np.isfinite(values)].astype(np.float64)
    return paired_bootstrap(known, np.zeros(known.size), seed=seed) if known.size else wilson(0, 0)
