import math

import numpy as np
import pytest
from scipy import stats

from robustmq_trt.evaluate.spread import over_rounds, percentile, ratio_over_rounds, relative_spread


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [1, 7, 100, 1024, 20_000])
def test_percentile_bounds_are_the_narrowest_ranks_that_scipys_binomial_allows(n: int, share: float):
    interval = percentile(np.arange(1, n + 1)[::-1], share)  # each sample is its own rank
    binomial = stats.binom(n, share)

    if math.isfinite(interval.low):
        assert binomial.cdf(interval.low - 1) <= 0.025
    if math.isfinite(interval.high):
        assert binomial.cdf(interval.high - 1) >= 0.975
        assert binomial.cdf(interval.high - 2) < 0.975
    assert binomial.cdf(max(interval.low, 0)) > 0.025
    assert interval.value == math.ceil(share * n)
    assert interval.n == n


def test_percentile_interval_covers_the_truth_as_often_as_promised():
    rng = np.random.default_rng(0)
    truth = stats.expon.ppf(0.9)

    intervals = [percentile(rng.exponential(size=200), 0.9) for _ in range(1000)]

    assert np.mean([interval.low <= truth <= interval.high for interval in intervals]) >= 0.94


def test_too_few_samples_leave_the_99th_percentile_unbounded():
    assert percentile(np.arange(100), 0.99).high == math.inf
    assert math.isfinite(percentile(np.arange(1024), 0.99).high)


def test_rounds_are_given_as_median_between_extremes():
    interval = over_rounds([3.0, 1.0, 2.0, 5.0], n=40)

    assert (interval.value, interval.low, interval.high, interval.n) == (2.5, 1.0, 5.0, 40)
    assert relative_spread([1.0, 1.05, 1.0]) == pytest.approx(0.05)


def test_ratio_is_the_geometric_mean_of_the_rounds_and_lies_in_its_interval():
    ratio = ratio_over_rounds([2.0, 4.0, 9.0], [1.0, 1.0, 1.0], seed=1)

    assert ratio.value == pytest.approx(72 ** (1 / 3))
    assert 1.99 < ratio.low < ratio.value < ratio.high < 9.01
    assert ratio == ratio_over_rounds([2.0, 4.0, 9.0], [1.0, 1.0, 1.0], seed=1)


def test_drift_common_to_both_cancels_in_the_ratio():
    drift = np.array([1.0, 1.5, 2.0, 3.0])

    ratio = ratio_over_rounds(2 * drift, drift, seed=0)

    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
