import math
from fractions import Fraction

import numpy as np
import pytest

from robustmq_trt.calib.percentile import percentile
from robustmq_trt.core.errors import InputError


@pytest.mark.parametrize("percent", [99.999, 99.9, 99.0, 50.0])
@pytest.mark.parametrize("name", ["gauss", "laplace", "outlier", "lopsided", "negative"])
def test_threshold_is_the_order_statistic_of_the_magnitudes_within_one_bin(
    name, percent, distributions, observe_values
):
    values = distributions[name].astype(np.float32)
    observed = observe_values(values)
    rank = math.ceil(Fraction(str(percent)) * values.size / 100)
    exact = np.sort(np.abs(values))[rank - 1]

    low, high = percentile(observed, percent=percent)

    assert max(-low, high) == pytest.approx(exact, abs=observed.bin_width)


def test_both_tails_are_cut_at_the_same_magnitude(distributions, observe_values):
    low, high = percentile(observe_values(distributions["gauss"]), percent=99.0)

    assert low == -high


def test_the_short_side_keeps_its_own_extreme(distributions, observe_values):
    values = distributions["lopsided"].astype(np.float32)

    low, high = percentile(observe_values(values), percent=99.0)

    assert low == values.min()
    assert 0 < high < values.max()


def test_hundred_percent_is_minmax(distributions, observe_values):
    observed = observe_values(distributions["gauss"])

    assert percentile(observed, percent=100) == (observed.minimum, observed.maximum)


@pytest.mark.parametrize("percent", [0, -1, 100.1, float("nan")])
def test_a_share_outside_its_range_is_refused(percent, observe_values):
    with pytest.raises(InputError, match="percent"):
        percentile(observe_values(np.ones(3)), percent=percent)


@pytest.mark.parametrize(("count", "percent"), [(1000, 99.9), (8000, 99.9), (100_000, 99.999), (100, 93)])
def test_a_share_that_is_a_whole_number_of_values_ends_at_the_last_of_them(count, percent, observe_values):
    inside = round(count * percent / 100)
    values = np.concatenate([np.linspace(0, 1, inside), np.full(count - inside, 50.0)])

    low, high = percentile(observe_values(values), percent=percent)

    assert (low, high) == pytest.approx((0, 1), abs=50 / 2048)
