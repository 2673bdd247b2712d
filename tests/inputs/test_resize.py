from __future__ import annotations

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.inputs.resize import RESIZERS, resize


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)


@pytest.mark.parametrize("resizer", sorted(RESIZERS))
def test_every_resizer_gives_the_size_asked_for_and_leaves_flat_images_flat(resizer: str) -> None:
    flat = np.full((13, 7, 3), 93, np.uint8)

    for height, width in [(5, 3), (29, 31), (1, 1)]:
        resized = resize(flat, height=height, width=width, resizer=resizer)

        np.testing.assert_array_equal(resized, np.full((height, width, 3), 93, np.uint8))


@pytest.mark.parametrize("resizer", sorted(RESIZERS))
def test_an_image_of_the_right_size_is_not_touched(resizer: str, image: np.ndarray) -> None:
    np.testing.assert_array_equal(resize(image, height=24, width=36, resizer=resizer), image)


@pytest.mark.parametrize("resizer", ["opencv-area", "pillow-box"])
def test_area_filters_average_whole_blocks(resizer: str, image: np.ndarray) -> None:
    resized = resize(image, height=8, width=12, resizer=resizer)

    means = image.reshape(8, 3, 12, 3, 3).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(resized - means).max() <= 1


def test_the_two_nearest_read_different_pixels(image: np.ndarray) -> None:
    opencv = resize(image, height=12, width=18, resizer="opencv-nearest")
    pillow = resize(image, height=12, width=18, resizer="pillow-nearest")

    np.testing.assert_array_equal(opencv, image[::2, ::2])
    np.testing.assert_array_equal(pillow, image[1::2, 1::2])


def test_opencv_linear_does_not_widen_with_the_reduction_and_pillow_does(image: np.ndarray) -> None:
    opencv = resize(image, height=6, width=9, resizer="opencv-linear")
    pillow = resize(image, height=6, width=9, resizer="pillow-bilinear")

    blocks = image.reshape(6, 4, 9, 4, 3).astype(np.float64)
    assert np.abs(opencv - blocks[:, 1:3, :, 1:3].mean(axis=(1, 3))).max() <= 1  # two of four pixels each way
    assert np.abs(pillow - triangle(image.astype(np.float64), 4)).max() <= 1


def triangle(image: np.ndarray, factor: int) -> np.ndarray:
    """Reduce with a triangle of half-width ``factor`` around each new pixel's centre, cut and renormalised at edges."""
    for axis in (0, 1):
        size = image.shape[axis]
        centres = (np.arange(size // factor) + 0.5) * factor
        weights = np.maximum(0, 1 - np.abs(np.arange(size) + 0.5 - centres[:, None]) / factor)
        weights /= weights.sum(axis=1, keepdims=True)
        image = np.moveaxis(np.tensordot(weights, image, axes=(1, axis)), 0, axis)
    return image


def test_an_unknown_resizer_is_named_with_its_neighbour(image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"Unknown resizer 'opencv-aera'\. Did you mean 'opencv-area'"):
        resize(image, height=2, width=2, resizer="opencv-aera")
