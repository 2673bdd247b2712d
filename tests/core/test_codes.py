import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from robustmq_trt.core.codes import WeightCodes, codes_for, level_limit, round_to_nearest
from robustmq_trt.core.errors import InputError

FINITE = st.floats(-1e6, 1e6, width=32)
WEIGHTS = arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=4), elements=FINITE)


def codes(**changes):
    given = {"codes": np.int8([[7, -7], [0, 1]]), "scales": np.float32([0.5, 2.0]), "axis": 0, "bits": 4}
    return WeightCodes(**(given | changes))


@pytest.mark.parametrize(("axis", "expected"), [(0, [[3.5, -3.5], [0.0, 2.0]]), (1, [[3.5, -14.0], [0.0, 2.0]])])
def test_values_are_codes_times_the_scale_of_their_channel(axis, expected):
    found = codes(axis=axis).values()

    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(expected))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": np.int8([[8, 0], [0, 0]])}, r"in -7\.\.7"),
        ({"codes": np.int8([[-128, 0], [0, 0]]), "bits": 8}, r"in -127\.\.127"),
        ({"codes": np.int16([[1, 0], [0, 0]])}, "int8 codes"),
        ({"scales": np.float64([1, 1])}, "float32 scales"),
        ({"scales": np.float32([1, 1, 1])}, "2 scales"),
        ({"scales": np.float32([1, 0])}, "positive"),
        ({"scales": np.float32([1, np.inf])}, "finite"),
        ({"scales": np.float32([1, np.nan])}, "finite"),
        ({"axis": 2}, "axis"),
        ({"axis": -1}, "axis"),
        ({"bits": 1}, "bits"),
        ({"bits": 9}, "bits"),
    ],
)
def test_codes_that_break_a_rule_are_refused_by_that_rule(changes, message):
    with pytest.raises(InputError, match=message):
        codes(**changes)


@given(WEIGHTS, st.integers(2, 8), st.data())
def test_rounding_to_nearest_moves_no_weight_by_more_than_half_a_step(weight, bits, data):
    axis = data.draw(st.integers(0, weight.ndim - 1))

    found = round_to_nearest(weight, bits, axis)

    steps = found.scales.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    assert found.codes.shape == weight.shape
    assert (np.abs(found.values() - weight) <= np.maximum(steps * 0.50001, np.finfo(np.float32).tiny)).all()


@given(WEIGHTS, st.integers(2, 8))
def test_the_largest_weight_of_a_channel_gets_the_outermost_level(weight, bits):
    found = round_to_nearest(weight, bits, 0)

    for row, levels in zip(weight.reshape(len(weight), -1), found.codes.reshape(len(weight), -1), strict=True):
        fires = np.abs(row).max() / level_limit(bits) >= np.finfo(np.float32).tiny
        assert np.abs(levels).max() == (level_limit(bits) if fires else 0)


def test_int4_rounds_half_to_even():
    weight = np.float32([[7.0, 0.5, 1.5, 2.5, -0.5, -1.5]])

    assert round_to_nearest(weight, 4, 0).codes.tolist() == [[7, 0, 2, 2, 0, -2]]


def test_two_bits_leave_minus_one_zero_and_one():
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)

    assert np.unique(round_to_nearest(weight, 2, 0).codes).tolist() == [-1, 0, 1]


def test_a_channel_of_zeros_gets_scale_one():
    found = round_to_nearest(np.zeros((2, 3), np.float32), 4, 0)

    assert found.scales.tolist() == [1.0, 1.0]
    assert not found.codes.any()


def test_a_smaller_scale_clips_at_the_outermost_level():
    found = codes_for(np.float32([[10.0, -10.0, 1.0]]), np.float32([1.0]), 4, 0)

    assert found.codes.tolist() == [[7, -7, 1]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value):
    with pytest.raises(InputError, match="finite"):
        round_to_nearest(np.float32([value]), 4, 0)
