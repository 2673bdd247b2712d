"""Paired comparisons of per-image values: shares, means, and statistics over the columns of a table; with verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..core.record import Comparison, Record
from ..core.statistics import (
    Z_DETECT,
    Interval,
    bootstrap_bounds,
    holm,
    mcnemar_exact,
    paired_bootstrap,
    paired_difference,
    resampled_means,
)

_SIGNIFICANCE = 0.05

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Takes (R, C) column means, one row per resample; gives (R,) numbers."""


def compare(
    reference: str, values: Bools | Floats, before: Bools | Floats, seed: int, *, less_is_better: bool = False
) -> Comparison:
    """Compare two columns over the same images: shares by McNemar's exact test, means by the paired z-test.

    Means that change alike on every image have no spread for a z; they are compared by the sign test.

    Args:
        reference: What ``before`` belongs to.
        values: (N,) bool, or float64 in any unit.
        before: (N,) the same for the reference.
        seed: Seed of the bootstrap.
        less_is_better: Whether a smaller mean is the better one.

    Returns:
        The comparison; its verdict is left to `with_verdicts`. For means, gained (``wrong_to_right``) counts the images
        whose value is better, lost those whose value is worse.
    """
    if values.dtype == np.bool_:
        difference = paired_difference(values.astype(np.bool_), before.astype(np.bool_), seed=seed)
        bounds = Interval(value=difference.difference, low=difference.low, high=difference.high, n=difference.n)
        flips = difference.wrong_to_right, difference.right_to_wrong
        return _comparison(reference, bounds, difference.p_value, flips, difference.detectable)
    change = values.astype(np.float64) - before
    bounds = paired_bootstrap(values.astype(np.float64), before.astype(np.float64), seed=seed)
    less, more = int((change < 0).sum()), int((change > 0).sum())
    spread = float(change.std(ddof=1) / np.sqrt(change.size)) if change.size > 1 else 0.0
    p_value = 2 * NormalDist().cdf(-abs(bounds.value) / spread) if spread else mcnemar_exact(less, more)
    flips = (less, more) if less_is_better else (more, less)
    return _comparison(reference, bounds, p_value, flips, Z_DETECT * spread)


def statistic_interval(table: Bools, statistic: Statistic, seed: int) -> Interval:
    """Give a statistic of the column means of a table with its percentile bootstrap interval over images.

    Args:
        table: (N, C) bool, one row per image.
        statistic: Its value is plugged in: a minimum or a standard deviation over columns keeps the bias that chance
            between the columns gives it, in the value and, once more, in the resamples.
        seed: Seed of the resampling.

    Reference:
        Efron & Tibshirani 1993, section 13.3, whole rows resampled.
    """
    low, high = bootstrap_bounds(statistic(resampled_means(table, seed=seed)))
    return Interval(value=float(statistic(table.mean(axis=0)[None])[0]), low=low, high=high, n=len(table))


def compare_statistic(reference: str, table: Bools, before: Bools, statistic: Statistic, seed: int) -> Comparison:
    """Compare a statistic of two tables over the same images by the paired bootstrap.

    Args:
        reference: What ``before`` belongs to.
        table: (N, C) bool.
        before: (N, C) bool, same images and columns.
        statistic: What is compared, e.g. the least column mean.
        seed: Seed of the resampling; both tables are resampled alike.

    Returns:
        The comparison; p = 2 * (1 + the resamples on the rarer side of zero) / (R + 1), at most 1, so that the choice
        of the least column is made anew in each resample. Flips count the images right in more or in fewer columns.

    Reference:
        Efron & Tibshirani 1993, section 15.4: the achieved significance level.
    """
    means = resampled_means(np.concatenate([table, before], axis=1), seed=seed)
    drawn = statistic(means[:, : table.shape[1]]) - statistic(means[:, table.shape[1] :])
    low, high = bootstrap_bounds(drawn)
    value = float((statistic(table.mean(axis=0)[None]) - statistic(before.mean(axis=0)[None]))[0])
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    change = table.sum(axis=1) - before.sum(axis=1)
    return _comparison(
        reference,
        Interval(value=value, low=low, high=high, n=len(table)),
        min(1.0, 2 * (1 + rarer) / (len(drawn) + 1)),
        (int((change > 0).sum()), int((change < 0).sum())),
        Z_DETECT * float(drawn.std()),
    )


def with_verdicts(found: Sequence[Record], *, less_is_better: Sequence[str] = ()) -> list[Record]:
    """Adjust the p-values of all comparisons by Holm, and judge each at 5 %.

    Args:
        found: The records of a study.
        less_is_better: Metrics where a negative difference is better.
    """
    adjusted = iter(holm([record.comparison.p_value for record in found if record.comparison is not None]))
    return [
        record
        if record.comparison is None
        else replace(
            record,
            comparison=_decided(record.comparison, next(adjusted), less_is_better=record.metric in less_is_better),
        )
        for record in found
    ]


def _decided(comparison: Comparison, p_holm: float, *, less_is_better: bool) -> Comparison:
    if p_holm >= _SIGNIFICANCE:
        return replace(comparison, p_holm=p_holm)
    better = (comparison.difference > 0) != less_is_better
    return replace(comparison, p_holm=p_holm, verdict="better" if better else "worse")


def _comparison(
    reference: str, bounds: Interval, p_value: float, flips: tuple[int, int], detectable: float
) -> Comparison:
    return Comparison(
        reference=reference,
        difference=bounds.value,
        low=bounds.low,
        high=bounds.high,
        p_value=p_value,
        p_holm=p_value,
        wrong_to_right=flips[0],
        right_to_wrong=flips[1],
        detectable=detectable,
        verdict="not distinguishable",
    )
