import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustmq_trt.calib.histogram import SIDE_BINS, Observed, coarsen, grid_exponent
from robustmq_trt.calib.tally import Tally, scratch

# two magnitudes 2**130 apart are beyond what one float32 scale can serve
finite = st.floats(-(2.0**60), 2.0**60, width=32).filter(lambda value: value == 0 or abs(value) > 2.0**-60)
quick = settings(deadline=None, max_examples=50)
some_values = arrays(np.float32, st.integers(1, 60), elements=finite)


@pytest.mark.parametrize(("peak", "exponent"), [(0.75, 0), (1.0, 1), (7.99, 3), (8.0, 4), (0.0, -100), (1e-45, -100)])
def test_the_grid_is_the_narrowest_power_of_two_above_the_peak(peak, exponent):
    assert grid_exponent(peak) == exponent


@quick
@given(values=some_values, extra=st.integers(0, 20))
def test_coarsening_equals_counting_on_the_wider_grid(values, extra):
    counted = summary(values)
    wider = counted.exponent + extra
    direct = summary(np.append(values, np.float32(2.0 ** (wider - 1)))).signed()
    direct[SIDE_BINS + SIDE_BINS // 2] -= 1  # the value that asks for the wider grid

    coarse = coarsen(counted.signed(), extra)

    np.testing.assert_array_equal(coarse, direct)


@quick
@given(parts=st.lists(some_values, min_size=2, max_size=5), data=st.data())
def test_merging_is_exact_in_any_order(parts, data):
    shuffled = data.draw(st.permutations(parts))

    forward, other = merged(parts), merged(shuffled)

    assert (forward.minimum, forward.maximum, forward.exponent) == (other.minimum, other.maximum, other.exponent)
    np.testing.assert_array_equal(forward.signed(), other.signed())
    np.testing.assert_array_equal(forward.signed(), summary(np.concatenate(parts)).signed())


def summary(values: np.ndarray) -> Observed:
    tally = Tally(counted=True)
    tally.add(values, scratch())
    return tally.observed()


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
