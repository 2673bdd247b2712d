import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustmq_trt.calib.histogram import SIDE_BINS, Observed, coarsen, count_values, grid_exponent, scratch

# two magnitudes 2**130 apart are beyond what one float32 scale can serve
finite = st.floats(-(2.0**60), 2.0**60, width=32).filter(lambda value: value == 0 or abs(value) > 2.0**-60)
quick = settings(deadline=None, max_examples=50)
some_values = arrays(np.float32, st.integers(1, 60), elements=finite)


def count_by_floor(values: np.ndarray, exponent: int) -> np.ndarray:
    numbers = [math.floor(math.ldexp(float(value), 12 - exponent)) for value in values]
    return np.bincount(np.array(numbers) + SIDE_BINS, minlength=2 * SIDE_BINS)


@quick
@given(values=some_values)
def test_counts_equal_an_exact_floor_at_any_magnitude(values):
    exponent = grid_exponent(float(np.abs(values).max()))

    counts = count_values(values, exponent, scratch())

    np.testing.assert_array_equal(counts, count_by_floor(values, exponent))


def test_values_on_bin_edges_belong_to_the_bin_they_begin():
    edges = (np.arange(-SIDE_BINS, SIDE_BINS) / 512).astype(np.float32)

    counts = count_values(edges, 3, scratch())

    np.testing.assert_array_equal(counts, 1)


def test_counts_agree_with_numpy_s_histogram_over_several_chunks(rng):
    values = rng.normal(size=(3, 100_000)).astype(np.float32)
    edges = np.arange(-SIDE_BINS, SIDE_BINS + 1) * (8 / SIDE_BINS)

    counts = count_values(values, 3, scratch())

    np.testing.assert_array_equal(counts, np.histogram(values, edges)[0])


@pytest.mark.parametrize(("peak", "exponent"), [(0.75, 0), (1.0, 1), (7.99, 3), (8.0, 4), (0.0, -100), (1e-45, -100)])
def test_the_grid_is_the_narrowest_power_of_two_above_the_peak(peak, exponent):
    assert grid_exponent(peak) == exponent


@quick
@given(values=some_values, extra=st.integers(0, 20))
def test_coarsening_equals_counting_on_the_wider_grid(values, extra):
    exponent = grid_exponent(float(np.abs(values).max()))
    wider = min(exponent + extra, 127)

    coarse = coarsen(count_values(values, exponent, scratch()), wider - exponent)

    np.testing.assert_array_equal(coarse, count_values(values, wider, scratch()))


@quick
@given(parts=st.lists(some_values, min_size=2, max_size=5), data=st.data())
def test_merging_is_exact_in_any_order(parts, data):
    shuffled = data.draw(st.permutations(parts))

    forward, other = merged(parts), merged(shuffled)

    assert (forward.minimum, forward.maximum, forward.exponent) == (other.minimum, other.maximum, other.exponent)
    np.testing.assert_array_equal(forward.signed(), other.signed())
    np.testing.assert_array_equal(forward.signed(), summary(np.concatenate(parts)).signed())


def summary(values: np.ndarray) -> Observed:
    exponent = grid_exponent(float(np.abs(values).max()))
    counts = count_values(values, exponent, scratch())
    return Observed(minimum=float(values.min()), maximum=float(values.max()), exponent=exponent, counts=counts)


def merged(parts: list[np.ndarray]) -> Observed:
    result = summary(parts[0])
    for part in parts[1:]:
        result = result.merge(summary(part))
    return result


def test_magnitudes_fold_both_signs_and_end_at_the_peak(observe_values):
    observed = observe_values(np.float32([-3.0, -0.001, 0.0, 0.001, 2.0]))

    magnitudes = observed.magnitudes()

    # bins of 4 / 4096; an edge below zero belongs to the bin nearer to it
    assert {int(k): int(magnitudes[k]) for k in np.flatnonzero(magnitudes)} == {0: 1, 1: 2, 2048: 1, 3071: 1}
    assert magnitudes.size == 3071 + 1


@pytest.mark.parametrize(
    ("low", "high", "threshold", "expected"),
    [(-5, 3, 4, (-4, 3)), (-5, 3, 1, (-1, 1)), (2, 3, 1, (1, 1)), (-3, -2, 1, (-1, -1)), (0, 6, 9, (0, 6))],
)
def test_clipping_cuts_both_tails_and_widens_none(low, high, threshold, expected):
    observed = Observed(minimum=low, maximum=high, exponent=3, counts=None)

    assert observed.clipped_at(threshold) == expected
