"""The distributions behind the noises, against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from robustmq_trt.evaluate.corruptions import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from robustmq_trt.evaluate.corruptions.numbers import CODES, draw_codes, normal_quantiles, uniform_numbers
from robustmq_trt.evaluate.corruptions.parameters import PARAMETER_SETS, SEVERITIES, ParameterSet

CASES = [(parameters, severity) for parameters in PARAMETER_SETS for severity in SEVERITIES]
ALL_CODES = np.arange(CODES, dtype=np.uint16)


def flat(level: int) -> np.ndarray:
    """As many values of one level as there are codes: (256, 256, 1)."""
    return np.full((256, 256, 1), level, np.uint8)


def test_codes_stand_for_scipys_normal_quantiles() -> None:
    expected = stats.norm.ppf((np.arange(CODES) + 0.5) / CODES)

    np.testing.assert_allclose(normal_quantiles(), expected, rtol=1e-6)


def test_codes_are_uniform_and_whole_words_of_the_stream() -> None:
    codes = draw_codes(np.random.default_rng(3), (500, 401))

    assert codes.shape == (500, 401)
    assert stats.kstest(uniform_numbers(codes).reshape(-1), "uniform").pvalue > 0.01
    longer = draw_codes(np.random.default_rng(3), (500 * 401 + 7,))
    np.testing.assert_array_equal(longer[: codes.size], codes.reshape(-1))


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_gaussian_noise_equals_the_float64_formula_in_every_byte(
    parameters: ParameterSet, severity: int, photograph: np.ndarray
) -> None:
    draws = np.random.default_rng(severity).standard_normal(photograph.shape)
    sigma = {
        "imagenet-c": (0.08, 0.12, 0.18, 0.26, 0.38),
        "cifar10-c": (0.04, 0.06, 0.08, 0.09, 0.10),
    }[parameters][severity - 1]

    noisy = gaussian_noise.apply(photograph, (draws,), severity, parameters)

    expected = (np.clip(photograph / 255.0 + sigma * draws, 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(noisy, expected)


@pytest.mark.parametrize("noise", [gaussian_noise, speckle_noise])
def test_codes_and_the_numbers_they_stand_for_give_the_same_noise(noise, photograph: np.ndarray) -> None:
    codes = draw_codes(np.random.default_rng(0), photograph.shape)
    numbers = normal_quantiles().astype(np.float64)[codes]

    by_codes = noise.apply(photograph, (codes,), 3, "imagenet-c").astype(int)
    by_numbers = noise.apply(photograph, (numbers,), 3, "imagenet-c")

    assert np.abs(by_codes - by_numbers).max() <= 1
    assert (by_codes != by_numbers).mean() < 0.001


@pytest.mark.parametrize(("parameters", "severity"), CASES)
@pytest.mark.parametrize("level", [1, 90, 255])
def test_shot_noise_counts_photons_as_a_poisson_process(parameters: ParameterSet, severity: int, level: int) -> None:
    photons = {"imagenet-c": (60, 25, 12, 5, 3), "cifar10-c": (500, 250, 100, 75, 50)}[parameters][severity - 1]
    levels = (np.arange(photons + 1) / photons * 255).astype(np.uint8)

    noisy = shot_noise.apply(flat(level), (ALL_CODES.reshape(256, 256, 1),), severity, parameters)

    found = np.bincount(noisy.reshape(-1), minlength=256).cumsum() / CODES
    below_white = np.flatnonzero(levels < 255)
    expected = stats.poisson.cdf(below_white, level / 255 * photons)
    # Where several counts share a level, only the last of them shows.
    last = np.append(np.diff(levels[below_white].astype(int)) > 0, True)
    np.testing.assert_allclose(found[levels[below_white]][last], expected[last], atol=1 / CODES)


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_impulse_noise_hits_the_published_share_half_white_half_black(parameters: ParameterSet, severity: int) -> None:
    share = {"imagenet-c": (0.03, 0.06, 0.09, 0.17, 0.27), "cifar10-c": (0.01, 0.02, 0.03, 0.05, 0.07)}

    noisy = impulse_noise.apply(flat(128), (ALL_CODES.reshape(256, 256, 1),), severity, parameters)

    black, white = (noisy == 0).mean(), (noisy == 255).mean()
    assert black == white == pytest.approx(share[parameters][severity - 1] / 2, abs=1 / CODES)
    assert (noisy == 128).mean() == 1 - black - white
