import numpy as np
import pytest
from scipy import stats

from robustmq_trt.calib.entropy import (
    SIGNED_LEVELS,
    UNSIGNED_LEVELS,
    candidate_sizes,
    divergences,
    entropy,
    without_zero_spike,
)


def divergence_step_by_step(magnitudes: np.ndarray, size: int, levels: int) -> float:
    """The slides' algorithm as written: build P, build Q bin by bin, compare."""
    reference = magnitudes[:size].astype(float)
    reference[-1] += magnitudes[size:].sum()
    candidate = np.zeros(size)
    level_of = [j * levels // size for j in range(size)]
    for level in range(levels):
        members = [j for j in range(size) if level_of[j] == level]
        filled = [j for j in members if reference[j] > 0]
        for j in filled:
            candidate[j] = sum(magnitudes[members]) / len(filled)
    return float(stats.entropy(reference, candidate))


@pytest.mark.parametrize("name", ["gauss", "relu", "relu6", "laplace", "outlier", "lopsided"])
@pytest.mark.parametrize("levels", [SIGNED_LEVELS, UNSIGNED_LEVELS])
def test_divergences_equal_the_algorithm_done_step_by_step(name, levels, distributions, observe_values, rng):
    magnitudes = without_zero_spike(observe_values(distributions[name][-3000:]).magnitudes())
    sizes = rng.choice(candidate_sizes(magnitudes.size, levels), 4)

    closed = divergences(magnitudes, sizes, levels)

    stepwise = [divergence_step_by_step(magnitudes, int(size), levels) for size in sizes]
    np.testing.assert_allclose(closed, stepwise, rtol=1e-9, atol=1e-12)


def test_a_single_outlier_does_not_stretch_the_range(distributions, observe_values):
    low, high = entropy(observe_values(distributions["outlier"]))

    assert 3 < high < 10
    assert -10 < low < -3


def test_a_uniform_tensor_is_not_clipped(rng, observe_values):
    values = rng.uniform(-1, 1, 200_000).astype(np.float32)

    low, high = entropy(observe_values(values))

    assert (low, high) == pytest.approx((-1, 1), abs=0.01)


def test_zeros_do_not_move_the_threshold(distributions, observe_values):
    gauss = np.abs(distributions["gauss"])

    with_zeros = entropy(observe_values(np.append(gauss, np.zeros(10 * gauss.size))))

    assert with_zeros[1] == entropy(observe_values(gauss))[1]


def test_it_clips_a_long_tail_that_minmax_keeps(distributions, observe_values):
    observed = observe_values(distributions["laplace"])

    assert entropy(observed)[1] < 0.9 * observed.peak


@pytest.mark.parametrize("count", [1, 10, 80, 300, 1000])
def test_fewer_values_than_bins_keep_their_extremes(count, rng, observe_values):
    observed = observe_values(rng.normal(size=count))

    assert entropy(observed) == (observed.minimum, observed.maximum)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_tensor_far_from_zero_does_not_become_a_constant(sign, rng, observe_values):
    observed = observe_values(sign * rng.normal(1, 0.02, size=100_000))

    assert max(np.abs(entropy(observed))) > 1.05
