"""Scales of least squared error against the best there are."""

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


def best_step(row: np.ndarray, limit: int) -> tuple[float, float, float]:
    """Give the best step there is, its squared error and the codes' power.

    Codes change only where ``|w| / step`` passes a half; between two such steps the best one is ``w . c / c . c``.
    """
    magnitudes = np.abs(row[row != 0])
    turns = np.unique(magnitudes[:, None] / (np.arange(limit) + 0.5))
    middles = np.concatenate([turns[:1] / 2, (turns[1:] + turns[:-1]) / 2])
    codes = np.clip(np.rint(row / middles[:, None]), -limit, limit)
    power, overlap = (codes**2).sum(axis=1), codes @ row
    best = int(np.argmax(overlap**2 / power))
    return overlap[best] / power[best], float(row @ row - overlap[best] ** 2 / power[best]), float(power[best])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_no_step_is_better_by_more_than_the_distance_of_the_steps_tried(rng, bits):
    # With s the best step, c its codes and e their error, the codes of a step t tried cost at most |w - t c|^2
    # = e + (t - s)^2 c.c, since w - s c is orthogonal to c; all that follows only lowers it.
    weight = channels(rng)
    widest = np.abs(weight).max(axis=1).astype(np.float64) / (2 ** (bits - 1) - 1)
    tried = widest[:, None] * np.linspace(0.2, 1.0, 81)

    chosen = squared_error(weight, mse_scales(weight, bits, 0), bits)

    steps, least, powers = np.transpose([best_step(row.astype(np.float64), 2 ** (bits - 1) - 1) for row in weight])
    apart = np.abs(tried - steps[:, None]).min(axis=1)
    assert (chosen >= least * (1 - 1e-5)).all()
    assert (chosen <= (least + apart**2 * powers) * (1 + 1e-5)).all()


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
