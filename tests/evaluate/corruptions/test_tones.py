"""Brightness, colour, contrast and compression, against Python's colorsys, Pillow and formulas in float64."""

from __future__ import annotations

import colorsys
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.corruptions import brightness, contrast, frost, jpeg, pixelate, saturate
from robustmq_trt.evaluate.corruptions.catalog import corrupt
from robustmq_trt.evaluate.corruptions.parameters import PARAMETER_SETS, SEVERITIES, ParameterSet

CASES = [(parameters, severity) for parameters in PARAMETER_SETS for severity in SEVERITIES]


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_jpeg_equals_pillow_and_opencv_in_every_byte(
    parameters: ParameterSet, severity: int, photograph: np.ndarray
) -> None:
    quality = {"imagenet-c": (25, 18, 15, 10, 7), "cifar10-c": (80, 65, 58, 50, 40)}[parameters][severity - 1]
    file = io.BytesIO()
    Image.fromarray(photograph).save(file, "jpeg", quality=quality)
    _, by_opencv = cv2.imencode(".jpg", photograph[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])

    compressed = jpeg.apply(photograph, (), severity, parameters)

    np.testing.assert_array_equal(compressed, np.asarray(Image.open(file)))
    np.testing.assert_array_equal(compressed, cv2.imdecode(by_opencv, cv2.IMREAD_COLOR_RGB))


def test_an_image_too_long_for_jpeg_is_refused() -> None:
    with pytest.raises(InputError, match="65500"):
        corrupt(np.zeros((1, 65_501, 3), np.uint8), "jpeg", severity=1)


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_pixelate_equals_shrinking_and_enlarging_by_area(
    parameters: ParameterSet, severity: int, photograph: np.ndarray
) -> None:
    share = {"imagenet-c": (0.6, 0.5, 0.4, 0.3, 0.25), "cifar10-c": (0.95, 0.9, 0.85, 0.75, 0.65)}[parameters]
    size = int(83 * share[severity - 1]), int(61 * share[severity - 1])
    small = Image.fromarray(photograph).resize(size, Image.Resampling.BOX)

    pixelated = pixelate.apply(photograph, (), severity, parameters)

    np.testing.assert_array_equal(pixelated, np.asarray(small.resize((83, 61), Image.Resampling.BOX)))


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_contrast_equals_the_float64_formula_in_every_byte(
    parameters: ParameterSet, severity: int, photograph: np.ndarray
) -> None:
    share = {"imagenet-c": (0.4, 0.3, 0.2, 0.1, 0.05), "cifar10-c": (0.75, 0.5, 0.4, 0.3, 0.15)}[parameters]
    scaled = photograph / 255.0
    means = scaled.mean(axis=(0, 1))

    faded = contrast.apply(photograph, (), severity, parameters)

    expected = (np.clip((scaled - means) * share[severity - 1] + means, 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(faded, expected)


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_frost_equals_the_float64_formula_in_every_byte(
    parameters: ParameterSet, severity: int, photograph: np.ndarray
) -> None:
    texture = np.random.default_rng(severity).integers(0, 256, photograph.shape, dtype=np.uint8)
    weights = {
        "imagenet-c": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "cifar10-c": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    }[parameters][severity - 1]

    frosty = frost.apply(photograph, (texture,), severity, parameters)

    expected = np.clip(weights[0] * photograph + weights[1] * texture, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(frosty, expected)


def test_frost_reads_five_photographs_of_six_in_red_green_blue(frost_dir: Path) -> None:
    textures = frost.frost_textures(frost_dir, 1.0)

    assert len(textures) == 5
    np.testing.assert_array_equal(textures[3], np.asarray(Image.open(frost_dir / "frost4.jpg")))


def by_colorsys(image: np.ndarray, *, brighter: float = 0, factor: float = 1, offset: float = 0) -> np.ndarray:
    pixels = []
    for red, green, blue in image.reshape(-1, 3) / 255.0:
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        changed = min(saturation * factor + offset, 1.0), min(value + brighter, 1.0)
        pixels.append(colorsys.hsv_to_rgb(hue, *changed))
    return (np.array(pixels).reshape(image.shape) * 255).astype(np.uint8)


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_brightness_equals_hsv_in_float64_but_for_ties(
    parameters: ParameterSet, severity: int, photograph: np.ndarray
) -> None:
    amount = {"imagenet-c": (0.1, 0.2, 0.3, 0.4, 0.5), "cifar10-c": (0.05, 0.1, 0.15, 0.2, 0.3)}[parameters]

    brighter = brightness.apply(photograph, (), severity, parameters)

    difference = np.abs(brighter.astype(int) - by_colorsys(photograph, brighter=amount[severity - 1]))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.035


@pytest.mark.parametrize(("parameters", "severity"), CASES)
def test_saturate_equals_hsv_in_float64_but_for_ties(
    parameters: ParameterSet, severity: int, photograph: np.ndarray
) -> None:
    factor, offset = {
        "imagenet-c": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        "cifar10-c": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    }[parameters][severity - 1]

    saturated = saturate.apply(photograph, (), severity, parameters)

    difference = np.abs(saturated.astype(int) - by_colorsys(photograph, factor=factor, offset=offset))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.08


def test_saturate_turns_grey_red_where_it_adds() -> None:
    grey = np.full((2, 2, 3), 100, np.uint8)

    assert (saturate.apply(grey, (), 3, "imagenet-c") == 100).all()
    np.testing.assert_array_equal(saturate.apply(grey, (), 5, "imagenet-c")[0, 0], [100, 80, 80])


def test_brightness_keeps_grey_grey_and_lifts_black() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)

    brighter = brightness.apply(grey, (), 3, "imagenet-c").astype(int)

    assert (brighter == brighter[:, :, :1]).all()
    assert np.abs(brighter - np.minimum(grey.astype(int) + 76.5, 255)).max() <= 1
