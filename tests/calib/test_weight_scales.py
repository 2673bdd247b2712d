"""Scales of least squared error against a dense scan."""

import numpy as np
import pytest

from robustmq_trt.calib.weight_scales import mse_codes, mse_scales
from robustmq_trt.core.codes import codes_for, round_to_nearest
from robustmq_trt.core.errors import InputError


def squared_error(weight: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    values = codes_for(weight, scales.astype(np.float32), bits, 0).values()
    return ((values.astype(np.float64) - weight) ** 2).reshape(len(weight), -1).sum(axis=1)


def channels(rng: np.random.Generator) -> np.ndarray:
    normal = rng.normal(size=(12, 72))
    rows = np.concatenate([normal, normal**3, rng.laplace(size=(12, 72)), np.abs(normal)])
    return (rows * rng.lognormal(size=(48, 1))).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_no_scale_of_a_dense_scan_is_better(rng, bits):
    weight = channels(rng)

    chosen = squared_error(weight, mse_scales(weight, bits, 0), bits)

    widest = np.abs(weight).max(axis=1) / (2 ** (bits - 1) - 1)
    scan = np.min([squared_error(weight, widest * share, bits) for share in np.linspace(0.05, 1.2, 1500)], axis=0)
    assert (chosen <= 1.001 * scan).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_error_is_never_above_that_of_the_largest_magnitude(rng, bits):
    weight = channels(rng)

    chosen = squared_error(weight, mse_scales(weight, bits, 0), bits)
    nearest = squared_error(weight, round_to_nearest(weight, bits, 0).scales, bits)

    assert (chosen <= nearest * (1 + 1e-5)).all()


def test_weights_on_a_grid_already_keep_it():
    weight = (np.array([[-7, 3, 0, 1], [7, 7, -2, 5]]) * np.array([[0.25], [3.0]])).astype(np.float32)

    codes = mse_codes(weight, 4, 0)

    np.testing.assert_allclose(codes.values(), weight, rtol=1e-6)


def test_a_channel_of_zeros_gets_scale_one(rng):
    weight = rng.normal(size=(3, 5)).astype(np.float32)
    weight[1] = 0

    codes = mse_codes(weight, 4, 0)

    assert codes.scales[1] == 1
    assert not codes.codes[1].any()


def test_channels_may_lie_on_any_axis(rng):
    weight = rng.normal(size=(6, 4)).astype(np.float32)

    np.testing.assert_array_equal(mse_scales(weight, 3, 1), mse_scales(np.ascontiguousarray(weight.T), 3, 0))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="finite"):
        mse_codes(np.float32([[1, np.inf]]), 4, 0)
