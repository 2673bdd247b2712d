import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustmq_trt.calib.histogram import SIDE_BINS, Observed, grid_exponent
from robustmq_trt.calib.tally import NotFiniteError, Tally, scratch

# two magnitudes 2**130 apart are beyond what one float32 scale can serve
finite = st.floats(-(2.0**60), 2.0**60, width=32).filter(lambda value: value == 0 or abs(value) > 2.0**-60)
quick = settings(deadline=None, max_examples=50)
some_values = arrays(np.float32, st.integers(1, 60), elements=finite)


def tallied(*arrays: np.ndarray) -> Observed:
    tally, work = Tally(counted=True), scratch()
    for values in arrays:
        tally.add(values, work)
    return tally.observed()


def count_by_floor(values: np.ndarray, exponent: int) -> np.ndarray:
    numbers = [math.floor(math.ldexp(float(value), 12 - exponent)) for value in values]
    return np.bincount(np.array(numbers) + SIDE_BINS, minlength=2 * SIDE_BINS)


@quick
@given(values=some_values)
def test_counts_equal_an_exact_floor_at_any_magnitude(values):
    observed = tallied(values)

    assert observed.exponent == grid_exponent(float(np.abs(values).max()))
    np.testing.assert_array_equal(observed.signed(), count_by_floor(values, observed.exponent))


@quick
@given(parts=st.lists(some_values, min_size=1, max_size=5))
def test_the_grid_widens_as_values_come(parts):
    step_by_step, together = tallied(*parts), tallied(np.concatenate(parts))

    assert (step_by_step.minimum, step_by_step.maximum) == (together.minimum, together.maximum)
    assert step_by_step.exponent == together.exponent
    np.testing.assert_array_equal(step_by_step.signed(), together.signed())


def test_values_on_bin_edges_belong_to_the_bin_they_begin():
    edges = (np.arange(-SIDE_BINS, SIDE_BINS) / 512).astype(np.float32)[1:]  # -8 itself asks for the next grid

    observed = tallied(edges)

    np.testing.assert_array_equal(observed.signed(), [0] + [1] * edges.size)


def test_counts_agree_with_numpy_s_histogram_over_several_pieces(rng):
    values = rng.normal(size=(3, 100_000)).astype(np.float32)
    values[1, 7] = 7.5
    edges = np.arange(-SIDE_BINS, SIDE_BINS + 1) * (8 / SIDE_BINS)

    observed = tallied(values)

    assert (observed.minimum, observed.maximum) == (values.min(), 7.5)
    np.testing.assert_array_equal(observed.signed(), np.histogram(values, edges)[0])


def test_counts_stay_exact_beyond_what_float32_can_count():
    zeros, work = np.zeros(1 << 20, np.float32), scratch()
    tally = Tally(counted=True)

    for _ in range(35):
        tally.add(zeros, work)
    tally.add(np.zeros(3, np.float32), work)

    assert tally.observed().signed()[SIDE_BINS] == 35 * (1 << 20) + 3


def test_an_answer_in_between_changes_nothing(rng):
    values, work = rng.normal(size=1000).astype(np.float32), scratch()
    tally = Tally(counted=True)
    tally.add(values[:400], work)
    before = tally.observed()
    tally.add(values[400:], work)

    assert before.signed().sum() == 400
    np.testing.assert_array_equal(tally.observed().signed(), tallied(values).signed())


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("at", [0, 299_999])
@pytest.mark.parametrize("counted", [True, False])
def test_values_that_are_not_finite_are_refused(special, at, counted):
    values = np.ones(300_000, np.float32)
    values[at] = special

    with pytest.raises(NotFiniteError, match="there are values from"):
        Tally(counted=counted).add(values, scratch())


@pytest.mark.parametrize("values", [[], [np.zeros((0, 3), np.float32)], [np.zeros(5, np.float32)]])
def test_nothing_and_zeros_lie_on_the_finest_grid(values):
    observed = tallied(*values)

    assert (observed.minimum, observed.maximum, observed.exponent) == (0, 0, grid_exponent(0.0))
    assert observed.signed().sum() == observed.signed()[SIDE_BINS] == sum(array.size for array in values)


def test_extremes_alone_come_without_counts():
    tally = Tally(counted=False)
    tally.add(np.float32([-1, 2]), scratch())

    assert tally.observed() == Observed(minimum=-1.0, maximum=2.0, exponent=2, counts=None)
