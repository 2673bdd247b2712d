from __future__ import annotations

import colorsys
import io
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.corruptions import brightness, gaussian_noise, jpeg, motion_blur
from robustmq_trt.evaluate.corruptions.catalog import CORRUPTIONS, corrupt, corrupt_with, corruption_task
from robustmq_trt.evaluate.corruptions.parameters import (
    PARAMETER_SETS,
    SEVERITIES,
    ParameterSet,
    default_parameters,
)

NO_DRAWS = np.empty(0)
Case = tuple[ParameterSet, int]
CASES: list[Case] = [(parameters, severity) for parameters in PARAMETER_SETS for severity in SEVERITIES]

images = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))
names = st.sampled_from(sorted(CORRUPTIONS))
severities = st.sampled_from(SEVERITIES)
sets = st.sampled_from(PARAMETER_SETS)


def photograph() -> np.ndarray:
    """Smooth colours with texture, flat patches, black and white: (61, 83, 3) uint8."""
    rng = np.random.default_rng(4)
    image = cv2.resize(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8), (83, 61), interpolation=cv2.INTER_CUBIC)
    image = cv2.add(image, rng.integers(0, 20, image.shape, dtype=np.uint8))
    image[5:20, 5:25] = (200, 120, 40)
    image[30:40, 5:15] = 0
    image[30:40, 15:25] = 255
    return image


@given(image=images, name=names, severity=severities, parameters=sets, seed=st.integers(0, 2**40))
@settings(max_examples=150, deadline=None)
def test_any_image_keeps_its_size_and_is_not_modified_and_the_stream_decides(
    image: np.ndarray, name: str, severity: int, parameters: ParameterSet, seed: int
) -> None:
    before = image.copy()

    first, second = (corrupt(image, name, severity=severity, seed=seed, parameters=parameters) for _ in range(2))

    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert not np.shares_memory(first, image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(first, second)


@given(image=images, name=names, severity=severities, parameters=sets)
@settings(max_examples=50, deadline=None)
def test_apply_changes_neither_image_nor_draws(
    image: np.ndarray, name: str, severity: int, parameters: ParameterSet
) -> None:
    draws = CORRUPTIONS[name].draw(np.random.default_rng(0), image.shape)
    image.setflags(write=False)
    draws.setflags(write=False)

    first, second = (CORRUPTIONS[name].apply(image, draws, severity, parameters) for _ in range(2))

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("view", ["reversed channels", "every second row", "transposed"])
@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_strided_images_give_the_same_bytes_as_their_copies(name: str, view: str) -> None:
    image = photograph()
    strided = {
        "reversed channels": image[:, :, ::-1],
        "every second row": image[::2],
        "transposed": image.transpose(1, 0, 2),
    }[view]

    np.testing.assert_array_equal(
        corrupt(strided, name, severity=3), corrupt(np.ascontiguousarray(strided), name, severity=3)
    )


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, True])
@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_severities_out_of_1_to_5_are_refused(name: str, severity: int) -> None:
    with pytest.raises(InputError, match=rf"Expected `severity` in 1\.\.5, got {severity}"):
        corrupt(photograph(), name, severity=severity)


def test_unknown_names_and_parameter_sets_get_a_hint() -> None:
    with pytest.raises(InputError, match=r"Unknown corruption 'gausian_noise'\. Did you mean 'gaussian_noise'"):
        corrupt(photograph(), "gausian_noise", severity=1)
    with pytest.raises(InputError, match=r"Unknown parameter set 'imagenet'\. Did you mean 'imagenet-c'"):
        corrupt(photograph(), "jpeg", severity=1, parameters="imagenet")  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"Expected an image \(H, W, 3\) uint8"):
        corrupt(image, "jpeg", severity=1)
    with pytest.raises(InputError, match=r"Expected an image \(H, W, 3\) uint8"):
        corrupt_with(image, "jpeg", 1, np.random.default_rng(0), "imagenet-c")


def test_an_image_too_long_for_jpeg_is_refused() -> None:
    with pytest.raises(InputError, match="65500"):
        corrupt(np.zeros((1, 65_501, 3), np.uint8), "jpeg", severity=1)


@pytest.mark.parametrize(
    ("size", "expected"), [((32, 32), "cifar10-c"), ((64, 900), "cifar10-c"), ((65, 65), "imagenet-c")]
)
def test_the_parameter_set_follows_the_short_side(size: tuple[int, int], expected: ParameterSet) -> None:
    image = np.full((*size, 3), 100, np.uint8)

    assert default_parameters(*size) == expected
    np.testing.assert_array_equal(
        corrupt(image, "brightness", severity=1), corrupt(image, "brightness", severity=1, parameters=expected)
    )


def test_seeds_images_severities_and_sets_have_their_own_streams() -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    other = grey.copy()
    other[0, 0, 0] = 129

    noise = [
        corrupt(grey, "gaussian_noise", severity=5),
        corrupt(grey, "gaussian_noise", severity=5, seed=1),
        corrupt(other, "gaussian_noise", severity=5),
    ]

    assert len({result[1:].tobytes() for result in noise}) == 3
    assert len({corruption_task("jpeg", severity, parameters) for parameters, severity in CASES}) == 10


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_gaussian_noise_equals_the_float64_formula_in_every_byte(parameters: ParameterSet, severity: int) -> None:
    image = photograph()
    draws = gaussian_noise.draw(np.random.default_rng(severity), image.shape)
    sigma = {
        "imagenet-c": (0.08, 0.12, 0.18, 0.26, 0.38),
        "cifar10-c": (0.04, 0.06, 0.08, 0.09, 0.10),
    }[parameters][severity - 1]

    noisy = gaussian_noise.apply(image, draws, severity, parameters)

    expected = (np.clip(image / 255.0 + sigma * draws, 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(noisy, expected)


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_jpeg_equals_pillow_and_opencv_in_every_byte(parameters: ParameterSet, severity: int) -> None:
    image = photograph()
    quality = {"imagenet-c": (25, 18, 15, 10, 7), "cifar10-c": (80, 65, 58, 50, 40)}[parameters][severity - 1]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality)
    _, by_opencv = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])

    compressed = jpeg.apply(image, NO_DRAWS, severity, parameters)

    np.testing.assert_array_equal(compressed, np.asarray(Image.open(file)))
    np.testing.assert_array_equal(compressed, cv2.imdecode(by_opencv, cv2.IMREAD_COLOR_RGB))


def brighter_by_colorsys(image: np.ndarray, amount: float) -> np.ndarray:
    pixels = []
    for red, green, blue in image.reshape(-1, 3) / 255.0:
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        pixels.append(colorsys.hsv_to_rgb(hue, saturation, min(value + amount, 1.0)))
    return (np.array(pixels).reshape(image.shape) * 255).astype(np.uint8)


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_brightness_equals_hsv_in_float64_but_for_ties(parameters: ParameterSet, severity: int) -> None:
    image = photograph()
    amount = {"imagenet-c": (0.1, 0.2, 0.3, 0.4, 0.5), "cifar10-c": (0.05, 0.1, 0.15, 0.2, 0.3)}[parameters]

    brighter = brightness.apply(image, NO_DRAWS, severity, parameters)

    difference = np.abs(brighter.astype(int) - brighter_by_colorsys(image, amount[severity - 1]))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.035


def test_brightness_keeps_grey_grey_and_lifts_black() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)

    brighter = brightness.apply(grey, NO_DRAWS, 3, "imagenet-c").astype(int)

    assert (brighter == brighter[:, :, :1]).all()
    assert np.abs(brighter - np.minimum(grey.astype(int) + 76.5, 255)).max() <= 1


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
@pytest.mark.parametrize("angle", [-45.0, 0.0, 33.3])
def test_motion_blur_equals_a_loop_over_pixels_and_taps(parameters: ParameterSet, severity: int, angle: float) -> None:
    image = photograph()[::4, ::5]
    radius, sigma = {
        "imagenet-c": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "cifar10-c": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    }[parameters][severity - 1]

    blurred = motion_blur.apply(image, np.array([angle]), severity, parameters)

    # Rounded to 16 bits, then truncated to 8, as the reference's image library does.
    expected = np.rint(motion_blur_by_hand(image, radius, sigma, angle) * 257).astype(int) // 257
    difference = np.abs(blurred.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.002


@given(level=st.integers(0, 255), angle=st.floats(-45, 45), severity=severities, parameters=sets)
def test_motion_blur_leaves_flat_images_alone(
    level: int, angle: float, severity: int, parameters: ParameterSet
) -> None:
    flat = np.full((5, 6, 3), level, np.uint8)

    np.testing.assert_array_equal(motion_blur.apply(flat, np.array([angle]), severity, parameters), flat)


def test_motion_blur_draws_angles_over_the_whole_range() -> None:
    rng = np.random.default_rng(0)

    angles = np.concatenate([motion_blur.draw(rng, (2, 2, 3)) for _ in range(2000)])

    assert -45 <= angles.min() < -44.5
    assert 44.5 < angles.max() <= 45
    assert abs(angles.mean()) < 2


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(
    ("name", "parameters", "differing"),
    [
        ("gaussian_noise", "imagenet-c", 0.0),
        ("jpeg", "imagenet-c", 0.0),
        ("brightness", "imagenet-c", 0.035),
        ("motion_blur", "imagenet-c", 0.002),
        ("motion_blur", "cifar10-c", 0.002),
    ],
)
def test_the_published_references_gave_the_same_image(
    name: str, parameters: ParameterSet, severity: int, differing: float
) -> None:
    with np.load(Path(__file__).parent / "goldens.npz") as goldens:
        image, expected = goldens["image"], goldens[f"{name} {parameters}"][severity - 1]
        normal, angle = goldens["normal"], goldens["angles"][severity - 1 : severity]
    draws = {"gaussian_noise": normal, "motion_blur": angle}.get(name, NO_DRAWS)

    corrupted = CORRUPTIONS[name].apply(image, draws, severity, parameters)

    difference = np.abs(corrupted.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= differing


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
@pytest.mark.parametrize("parameters", PARAMETER_SETS)
def test_every_severity_moves_the_image_further(name: str, parameters: ParameterSet) -> None:
    image = photograph()
    draws = CORRUPTIONS[name].draw(np.random.default_rng(0), image.shape)

    distances = [
        np.abs(CORRUPTIONS[name].apply(image, draws, severity, parameters).astype(int) - image).mean()
        for severity in SEVERITIES
    ]

    assert distances == sorted(distances)
    assert distances[0] > 0
