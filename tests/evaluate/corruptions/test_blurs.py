"""The blurs and displacements, against SciPy and against loops over pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from robustmq_trt.evaluate.corruptions import (
    defocus_blur,
    elastic_transform,
    fog,
    gaussian_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from robustmq_trt.evaluate.corruptions.parameters import PARAMETER_SETS, SEVERITIES, ParameterSet
from robustmq_trt.evaluate.corruptions.smoothing import smooth_field

CASES = [(parameters, severity) for parameters in PARAMETER_SETS for severity in SEVERITIES]
severities = st.sampled_from(SEVERITIES)
sets = st.sampled_from(PARAMETER_SETS)


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_gaussian_blur_is_scipys_truncated_but_for_flat_patches(
    parameters: ParameterSet, severity: int, photograph: np.ndarray
) -> None:
    sigma = {"imagenet-c": (1, 2, 3, 4, 6), "cifar10-c": (0.4, 0.6, 0.7, 0.8, 1)}[parameters][severity - 1]

    blurred = gaussian_blur.apply(photograph, (), severity, parameters)

    expected = ndimage.gaussian_filter(photograph / 255, (sigma, sigma, 0), mode="nearest", truncate=4)
    exact = np.clip(expected, 0, 1) * 255
    unsure = np.abs(exact - np.rint(exact)) < 1e-6  # flat patches: a whole level, or one rounding error less
    np.testing.assert_array_equal(blurred[~unsure], exact.astype(np.uint8)[~unsure])
    assert np.abs(blurred - exact).max() < 1 + 1e-6


@pytest.mark.parametrize("sigma", [0.96, 4.0, 40.0])
def test_fields_are_smoothed_as_scipy_does_even_if_the_kernel_is_longer_than_the_field(sigma: float) -> None:
    field = np.random.default_rng(0).uniform(-1, 1, (20, 33)).astype(np.float32)

    smoothed = smooth_field(field, sigma, truncate=3)

    expected = ndimage.gaussian_filter(field.astype(np.float64), sigma, mode="reflect", truncate=3)
    np.testing.assert_allclose(smoothed, expected, atol=2e-6)


def overwritten_by_a_loop(image: np.ndarray, displacements: np.ndarray, reach: int) -> np.ndarray:
    """Overwrite pixel after pixel, from the bottom right corner, in one array."""
    height, width = image.shape[:2]
    seen = image.copy()
    for one_pass in displacements:
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                right, down = one_pass[row - reach - 1, column - reach - 1]
                seen[row, column] = seen[row + down, column + right]
    return seen


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_glass_blur_displaces_as_the_loop_over_pixels_does(
    parameters: ParameterSet, severity: int, photograph: np.ndarray
) -> None:
    glass = glass_blur.GLASS[parameters][severity - 1]
    (draws,) = glass_blur.draw(np.random.default_rng(severity), photograph.shape, severity, parameters)

    displaced = glass_blur._displaced(photograph, draws, glass.reach)

    np.testing.assert_array_equal(displaced, overwritten_by_a_loop(photograph, draws, glass.reach))


def test_glass_blur_draws_each_displacement_equally_often_and_never_the_reach_itself() -> None:
    (draws,) = glass_blur.draw(np.random.default_rng(0), (400, 400, 3), 4, "imagenet-c")

    values, counts = np.unique(draws, return_counts=True)

    assert list(values) == [-3, -2, -1, 0, 1, 2]
    assert np.abs(counts / counts.sum() - 1 / 6).max() < 0.002


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_defocus_keeps_the_brightness_of_a_grey_image(parameters: ParameterSet, severity: int) -> None:
    grey = np.full((40, 40, 3), 100, np.uint8)

    blurred = defocus_blur.apply(grey, (), severity, parameters)

    assert len(np.unique(blurred)) == 1
    assert abs(int(blurred[0, 0, 0]) - 100) <= 1  # the published kernels of 8 and 10 pixels sum to 1.013 and 1.011


@pytest.mark.parametrize("factor", [1.01, 1.2, 2.5])
def test_clipped_zoom_is_scipys_zoom_of_the_middle(factor: float) -> None:
    image = np.random.default_rng(0).random((31, 31)).astype(np.float32)
    middle = math.ceil(31 / factor)
    top = (31 - middle) // 2

    zoomed = zoom_blur.clipped_zoom(image, factor)

    expected = ndimage.zoom(image[top : top + middle, top : top + middle], factor, order=1)
    trim = (len(expected) - 31) // 2
    np.testing.assert_allclose(zoomed, expected[trim : trim + 31, trim : trim + 31], atol=2e-6)


def test_elastic_transform_reads_where_scipy_reads() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    still = np.full((3, 2), 0.5)  # no affine map
    fields = np.random.default_rng(2).random((2, 40, 40))

    deformed = elastic_transform.apply(image, (still, fields), 5, "cifar10-c")

    right, down = (
        ndimage.gaussian_filter(field * 2 - 1, 32 * 0.03, mode="reflect", truncate=3) * 3.2 for field in fields
    )
    rows, columns = np.mgrid[0:40, 0:40]
    expected = np.stack(
        [
            ndimage.map_coordinates(channel.astype(float), [rows + down, columns + right], order=1, mode="reflect")
            for channel in np.moveaxis(image, 2, 0)
        ],
        axis=2,
    )
    difference = np.abs(deformed.astype(int) - (expected + 1e-4).astype(np.uint8))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002


def test_the_fractal_of_fog_fills_its_range_and_goes_on_at_the_edges() -> None:
    plasma = fog.plasma_fractal(np.random.default_rng(0).random(64**2 - 1), 64, 2.0)

    assert (plasma.min(), plasma.max()) == (0, 1)
    across = np.abs(np.diff(plasma, axis=1)).mean()
    assert np.abs(plasma[:, 0] - plasma[:, -1]).mean() < 2 * across


@pytest.mark.parametrize(("height", "width", "side"), [(224, 224, 256), (32, 32, 32), (33, 20, 64), (1, 1, 2)])
def test_the_fractal_is_the_power_of_two_that_holds_the_image(height: int, width: int, side: int) -> None:
    assert fog.map_side(height, width) == side


def motion_blur_by_hand(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """One-sided Gaussian of 2 radius + 1 taps along the angle, pixel by pixel in float64, before truncation."""
    height, width, _ = image.shape
    weights = [math.exp(-(tap**2) / (2 * sigma**2)) for tap in range(2 * radius + 1)]
    blurred = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            for tap, weight in enumerate(weights):
                below = math.ceil(tap * math.sin(math.radians(angle)) - 0.5)
                right = math.ceil(tap * math.cos(math.radians(angle)) - 0.5)
                source = image[min(max(row + below, 0), height - 1), min(max(column + right, 0), width - 1)]
                blurred[row, column] += weight * source.astype(float)
    return blurred / sum(weights)


@pytest.mark.parametrize(("parameters", "severity"), CASES)
@pytest.mark.parametrize("angle", [-45.0, 0.0, 33.3, -100.0])
def test_motion_blur_equals_a_loop_over_pixels_and_taps(
    parameters: ParameterSet, severity: int, angle: float, photograph: np.ndarray
) -> None:
    image = photograph[::4, ::5]
    radius, sigma = {
        "imagenet-c": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "cifar10-c": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    }[parameters][severity - 1]

    blurred = motion_blur.apply(image, (np.array([angle]),), severity, parameters)

    # Rounded to 16 bits, then truncated to 8, as the reference's image library does.
    expected = np.rint(motion_blur_by_hand(image, radius, sigma, angle) * 257).astype(int) // 257
    difference = np.abs(blurred.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.002


@given(level=st.integers(0, 255), angle=st.floats(-180, 180), severity=severities, parameters=sets)
def test_motion_blur_leaves_flat_images_alone(
    level: int, angle: float, severity: int, parameters: ParameterSet
) -> None:
    flat = np.full((5, 6, 3), level, np.uint8)

    np.testing.assert_array_equal(motion_blur.apply(flat, (np.array([angle]),), severity, parameters), flat)


def test_motion_blur_draws_angles_over_the_whole_range() -> None:
    rng = np.random.default_rng(0)

    angles = np.concatenate([motion_blur.draw(rng, (2, 2, 3), 1, "imagenet-c")[0] for _ in range(2000)])

    assert -45 <= angles.min() < -44.5
    assert 44.5 < angles.max() <= 45
    assert abs(angles.mean()) < 2
