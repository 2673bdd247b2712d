"""The statistics that decide: intervals for rates, paired tests between engines, and what a test could have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
Z_DETECT = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.80)
"""Standard errors of an effect that a two-sided 5 % test finds four times out of five."""

_RESAMPLES = 10_000
_DRAWN_AT_ONCE = 1 << 22  # counts, 32 MB of them


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value between its confidence bounds.

    Attributes:
        value: The estimate.
        low: Lower 95 % bound.
        high: Upper 95 % bound.
        n: Number of independent observations behind it.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How two engines differ on the same images.

    Attributes:
        difference: Rate of the candidate minus rate of the reference, in [-1, 1].
        low: Lower 95 % bound of the difference.
        high: Upper 95 % bound of the difference.
        n: Number of images both answered.
        wrong_to_right: Images only the candidate gets right.
        right_to_wrong: Images only the reference gets right.
        p_value: Exact two-sided McNemar test.
        detectable: The smallest true difference that this test finds at 80 % power.
    """

    difference: float
    low: float
    high: float
    n: int
    wrong_to_right: int
    right_to_wrong: int
    p_value: float
    detectable: float


def wilson(successes: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Give a rate with its Wilson score interval.

    Args:
        successes: Number of successes, 0 <= successes <= n.
        n: Number of trials; 0 gives the interval [0, 1] around NaN.
        confidence: Coverage of the interval.

    Raises:
        ValueError: If ``successes`` lies outside 0..n.

    Reference:
        Wilson 1927, JASA 22; Brown, Cai, DasGupta 2001, eq. 4.

    Example:
        >>> interval = wilson(90, 100)
        >>> round(interval.low, 4), interval.value, round(interval.high, 4)
        (0.8256, 0.9, 0.9448)
    """
    if not 0 <= successes <= n:
        raise ValueError(f"Expected 0 <= successes <= {n}, got {successes}.")
    if n == 0:
        return Interval(value=float("nan"), low=0.0, high=1.0, n=0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / n
    scale = 1 / (1 + z * z / n)
    centre = (rate + z * z / (2 * n)) * scale
    half = z * scale * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)))
    # At 0 and n the bound is the rate itself; rounding must not push it past.
    return Interval(value=rate, low=min(rate, max(0.0, centre - half)), high=max(rate, min(1.0, centre + half)), n=n)


def mcnemar_exact(wrong_to_right: int, right_to_wrong: int) -> float:
    """Give the exact two-sided McNemar p-value for two counts of discordant pairs.

    Returns:
        min(1, 2 * P[Binomial(b + c, 1/2) <= min(b, c)]), and 1 when no pair is discordant.

    Reference:
        McNemar 1947; the exact form is the sign test on the discordant pairs.

    Example:
        >>> round(mcnemar_exact(1, 9), 6)
        0.021484
    """
    total = wrong_to_right + right_to_wrong
    if total == 0:
        return 1.0
    logs = log_choose(total)[: min(wrong_to_right, right_to_wrong) + 1] - total * np.log(2)
    return min(1.0, 2 * float(np.exp(logs).sum()))


def log_choose(n: int) -> NDArray[np.float64]:
    """Give the natural logarithms of the binomial coefficients "n over 0..n", (n + 1,), which themselves overflow.

    Example:
        >>> np.exp(log_choose(4)).round(6).tolist()
        [1.0, 4.0, 6.0, 4.0, 1.0]
    """
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return np.asarray(log_factorials[n] - log_factorials - log_factorials[::-1])


def paired_bootstrap(
    candidate: NDArray[np.float64], reference: NDArray[np.float64], *, seed: int, resamples: int = _RESAMPLES
) -> Interval:
    """Give the mean paired difference with its percentile bootstrap interval.

    Args:
        candidate: (N,) values per image, any unit.
        reference: (N,) values of the same images.
        seed: Seed of the resampling.
        resamples: Number of resamples.

    Returns:
        The mean of ``candidate - reference``, between its 2.5 % and 97.5 % bootstrap quantiles.

    Raises:
        ValueError: If the shapes differ or are empty.

    Reference:
        Efron & Tibshirani 1993, section 13.3. Pairs are resampled, never the two sides apart.
    """
    if candidate.shape != reference.shape or candidate.size == 0:
        raise ValueError(f"Expected two equal, non-empty shapes, got {candidate.shape} and {reference.shape}.")
    differences = np.asarray(candidate, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    means = resampled_means(differences[:, None], seed=seed, resamples=resamples)
    low, high = bootstrap_bounds(means[:, 0])
    return Interval(value=float(differences.mean()), low=low, high=high, n=differences.size)


def resampled_means(
    table: NDArray[np.bool_] | NDArray[np.float64], *, seed: int, resamples: int = _RESAMPLES
) -> NDArray[np.float64]:
    """Give the column means of a table whose rows are drawn anew, with replacement, as many as it has.

    How often each distinct row appears is drawn rather than indices: the same distribution, and far cheaper. A few
    resamples are drawn at a time, so that memory does not grow with rows times resamples.

    Args:
        table: (N, C), one row per image.
        seed: Seed of the resampling.
        resamples: Number R of resamples.

    Returns:
        (R, C) float64.
    """
    rows, counts = np.unique(table, axis=0, return_counts=True)
    rng, shares = np.random.default_rng(seed), counts / len(table)
    step = max(1, _DRAWN_AT_ONCE // len(rows))
    means = np.empty((resamples, table.shape[1]))
    for start in range(0, resamples, step):
        drawn = rng.multinomial(len(table), shares, size=min(step, resamples - start))
        means[start : start + step] = drawn @ rows.astype(np.float64) / len(table)
    return means


def bootstrap_bounds(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Give the 2.5 % and the 97.5 % quantile of a statistic over its resamples, (R,)."""
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def paired_difference(candidate: NDArray[np.bool_], reference: NDArray[np.bool_], *, seed: int) -> PairedDifference:
    """Compare two engines' right answers on the same images.

    Args:
        candidate: (N,) bool, whether the candidate is right on each image.
        reference: (N,) bool, the same images for the reference.
        seed: Seed of the bootstrap.

    Returns:
        The difference with its paired bootstrap interval, the exact McNemar test and the detectable difference. Where
        all pairs differ alike (as a rule: not at all) the bootstrap has no spread; then pairs that differ otherwise
        may make up what their rate of 0 in n allows (Clopper-Pearson), in whichever direction they can.
    """
    wrong_to_right = int(np.sum(candidate & ~reference))
    right_to_wrong = int(np.sum(~candidate & reference))
    interval = paired_bootstrap(candidate.astype(np.float64), reference.astype(np.float64), seed=seed)
    low, high = interval.low, interval.high
    if low == high:
        unseen = 1 - ((1 - CONFIDENCE) / 2) ** (1 / interval.n)
        reach = unseen * (1 + abs(interval.value))
        low, high = max(-1.0, low - reach), min(1.0, high + reach)
    return PairedDifference(
        difference=interval.value,
        low=low,
        high=high,
        n=interval.n,
        wrong_to_right=wrong_to_right,
        right_to_wrong=right_to_wrong,
        p_value=mcnemar_exact(wrong_to_right, right_to_wrong),
        detectable=minimum_detectable_difference(wrong_to_right + right_to_wrong, interval.n),
    )


def minimum_detectable_difference(discordant: int, n: int) -> float:
    """Give the smallest true paired difference found at 80 % power, about 2.8 * sqrt(p_discordant / n).

    Args:
        discordant: Number of discordant pairs seen; 0 counts as 1, since the true rate is unknown, not zero.
        n: Number of pairs.

    Reference:
        Normal approximation to McNemar's test (Miettinen 1968), two-sided 5 %.
    """
    return min(1.0, Z_DETECT * float(np.sqrt(max(discordant, 1))) / n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for the number of comparisons, keeping their order.

    Reference:
        Holm 1979, Scand. J. Statist. 6: step-down, controls the family-wise error without assumptions.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
