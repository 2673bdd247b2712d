import numpy as np
import pytest

from robustmq_trt.calib.mse import expected_error, filled_bins, mse

NAMES = ["gauss", "relu", "relu6", "laplace", "outlier", "lopsided"]


def true_error(values: np.ndarray, low: float, high: float, bits: int = 8) -> float:
    """Quantize each value to an asymmetric grid and compare."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    zero_point = np.rint(-low / scale)
    quantized = np.clip(np.rint(values / scale) + zero_point, 0, 2**bits - 1)
    return float(np.mean((values - (quantized - zero_point) * scale) ** 2))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_expected_error_is_the_true_error_of_the_values(name, share, distributions, observe_values):
    values = distributions[name].astype(np.float32)
    observed = observe_values(values)
    ends = observed.clipped_at(share * observed.peak)

    expected = expected_error(filled_bins(observed), *ends)

    assert expected == pytest.approx(true_error(values.astype(float), *ends), rel=0.04)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("name", NAMES)
def test_no_threshold_of_the_full_grid_is_clearly_better(name, bits, distributions, observe_values):
    values = distributions[name].astype(np.float32).astype(float)
    observed = observe_values(values)
    best = min(true_error(values, *observed.clipped_at(observed.peak * k / 128), bits) for k in range(1, 129))

    chosen = true_error(values, *mse(observed, bits=bits), bits)

    assert chosen <= 1.02 * best


def test_two_values_that_the_grid_holds_exactly_are_not_clipped(observe_values):
    assert mse(observe_values(np.float32([0.0, 1.0, 1.0]))) == (0.0, 1.0)
