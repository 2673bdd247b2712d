"""Intervals for what a clock gives: percentiles by order statistics, ratios and throughputs over rounds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.statistics import CONFIDENCE, Interval, bootstrap_bounds, log_choose

_RESAMPLES = 10_000


def percentile(samples: ArrayLike, share: float) -> Interval:
    """Give a percentile with its distribution-free interval.

    Args:
        samples: (n,) real numbers, n >= 1.
        share: Which percentile, in (0, 1); 0.99 is the 99th.

    Returns:
        The sample at rank ceil(share * n), between the two order statistics that enclose the true percentile with at
        least 95 % probability whatever the distribution. The upper bound is infinite, or the lower one minus infinity,
        where n is too small for such a rank to exist.

    Reference:
        Conover 1999, Practical Nonparametric Statistics, section 3.2: ranks from the binomial distribution. The draws
        are taken as independent; bursts of slow calls make the true interval wider, which is why the spread over rounds
        is reported beside it.
    """
    ordered = np.sort(np.asarray(samples, np.float64))
    n = len(ordered)
    at_most = _binomial_cdf(n, share)  # at_most[k] = P(B <= k)
    tail = (1 - CONFIDENCE) / 2
    lower = int(np.searchsorted(at_most, tail, side="right"))  # largest rank l with P(B <= l - 1) <= tail
    upper = int(np.searchsorted(at_most, 1 - tail, side="left")) + 1  # smallest rank u with P(B <= u - 1) >= 1 - tail
    return Interval(
        value=float(ordered[min(n, math.ceil(share * n)) - 1]),
        low=float(ordered[lower - 1]) if lower >= 1 else -math.inf,
        high=float(ordered[upper - 1]) if upper <= n else math.inf,
        n=n,
    )


def over_rounds(values: ArrayLike, *, n: int) -> Interval:
    """Give the median of some rounds between the lowest and the highest.

    Args:
        values: (rounds,) one number per round.
        n: Number of observations behind all rounds.

    Returns:
        Median, minimum and maximum; of 6 rounds they enclose the true median with 97 % probability.
    """
    rounds = np.asarray(values, np.float64)
    return Interval(value=float(np.median(rounds)), low=float(rounds.min()), high=float(rounds.max()), n=n)


def ratio_over_rounds(numerator: ArrayLike, denominator: ArrayLike, *, seed: int) -> Interval:
    """Give the ratio of two quantities measured side by side in the same rounds.

    Args:
        numerator: (rounds,) positive.
        denominator: (rounds,) positive, same rounds.
        seed: Seed of the bootstrap.

    Returns:
        Geometric mean of the rounds' ratios with its 95 % percentile-bootstrap interval over rounds; n is their number.
    """
    logs = np.log(np.asarray(numerator, np.float64)) - np.log(np.asarray(denominator, np.float64))
    rng = np.random.default_rng(seed)
    means = logs[rng.integers(0, len(logs), (_RESAMPLES, len(logs)))].mean(axis=1)
    low, high = map(math.exp, bootstrap_bounds(means))
    return Interval(value=math.exp(logs.mean()), low=low, high=high, n=len(logs))


def relative_spread(values: ArrayLike) -> float:
    """Give how far the rounds lie apart: (max - min) / median."""
    rounds = np.asarray(values, np.float64)
    return float((rounds.max() - rounds.min()) / np.median(rounds))


def _binomial_cdf(n: int, share: float) -> NDArray[np.float64]:
    """Give P(B <= k) for k = 0..n of a binomial variable."""
    k = np.arange(n + 1)
    return np.cumsum(np.exp(log_choose(n) + k * math.log(share) + (n - k) * math.log1p(-share)))
