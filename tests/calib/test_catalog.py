"""What holds for every calibration method, whoever adds it."""

import math

import numpy as np
import pytest

from robustmq_trt.calib.catalog import METHODS, find_method
from robustmq_trt.core.errors import InputError

NAMES = sorted(METHODS)


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("name", ["gauss", "relu", "relu6", "laplace", "outlier", "lopsided", "negative"])
def test_a_range_never_leaves_the_values_extremes(method, name, distributions, observe_values):
    observed = observe_values(distributions[name])

    low, high = METHODS[method].choose(observed)

    assert min(observed.minimum, 0) <= low <= high <= max(observed.maximum, 0)


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("constant", [0.0, -0.0, 5.0, -5.0, 1e-42, 3e38])
def test_a_constant_tensor_keeps_its_one_value(method, constant, observe_values):
    low, high = METHODS[method].choose(observe_values(np.full(10, constant)))

    assert low == high == np.float32(constant)


@pytest.mark.parametrize("method", NAMES)
def test_scaling_the_values_by_a_power_of_two_scales_the_range(method, distributions, observe_values):
    once = METHODS[method].choose(observe_values(distributions["laplace"]))
    scaled = METHODS[method].choose(observe_values(distributions["laplace"].astype(np.float32) * 1024))

    assert scaled == pytest.approx([1024 * end for end in once], rel=1e-12)


@pytest.mark.parametrize("method", NAMES)
def test_ranges_are_plain_finite_floats(method, distributions, observe_values):
    ends = METHODS[method].choose(observe_values(distributions["gauss"]))

    assert all(type(end) is float and math.isfinite(end) for end in ends)


def test_a_percentile_can_be_named(distributions, observe_values):
    observed = observe_values(distributions["gauss"])

    assert find_method("percentile:90").choose(observed)[1] == pytest.approx(1.645, abs=0.03)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("entropie", "Did you mean 'entropy'"),
        ("percentile:", r"P in \(0, 100\]"),
        ("percentile:0", r"P in \(0, 100\]"),
        ("percentile:nan", r"P in \(0, 100\]"),
        ("minmax:3", "takes no argument"),
        ("mse:9", "B in 2..8"),
    ],
)
def test_a_method_that_does_not_exist_is_refused(name, match):
    with pytest.raises(InputError, match=match):
        find_method(name)
