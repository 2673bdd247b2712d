from __future__ import annotations

from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from robustmq_trt.core.errors import InputError
from robustmq_trt.inputs.camera import CAMERAS, photograph

RIGHT = sorted(name for name in CAMERAS if "-as-" not in name)
# ITU-R BT.601-7 and BT.709-6, written out: luma, then the two divisors of colour difference.
ITU = {"bt601": ((0.299, 0.587, 0.114), 1.772, 1.402), "bt709": ((0.2126, 0.7152, 0.0722), 1.8556, 1.5748)}

Image = NDArray[np.uint8]


def blocks(height: int = 32, width: int = 48) -> Image:
    """Random colours in 2 x 2 blocks, so that halving chroma loses nothing."""
    small = np.random.default_rng(2).integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8)
    return small.repeat(2, axis=0).repeat(2, axis=1)


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def greys(height: int = 16, width: int = 16) -> Image:
    return np.arange(height * width, dtype=np.uint8).reshape(height, width, 1).repeat(3, axis=2)


def largest(first: Any, second: Any) -> int:
    return int(np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).max())


def written(image: Image, matrix: str, levels: str) -> tuple[Any, Any, Any]:
    weights, of_blue, of_red = ITU[matrix]
    luma = image.astype(float) @ np.array(weights)
    means = image.astype(float).reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    mean_luma = means @ np.array(weights)
    blue, red = (means[..., 2] - mean_luma) / of_blue, (means[..., 0] - mean_luma) / of_red
    if levels == "limited":
        return np.rint(16 + luma * 219 / 255), np.rint(128 + blue * 224 / 255), np.rint(128 + red * 224 / 255)
    return np.rint(luma), np.rint(128 + blue).clip(0, 255), np.rint(128 + red).clip(0, 255)


def read(luma: Any, blue: Any, red: Any, matrix: str, levels: str) -> Any:
    (of_r, of_g, of_b), per_blue, per_red = ITU[matrix]
    limited = levels == "limited"
    luma = (luma - 16) * 255 / 219 if limited else luma
    blue, red = ((blue - 128) * 255 / 224, (red - 128) * 255 / 224) if limited else (blue - 128, red - 128)
    r, b = luma + per_red * red, luma + per_blue * blue
    return np.rint(np.stack([r, (luma - of_r * r - of_b * b) / of_g, b], axis=2)).clip(0, 255)


def repeated(chroma: Any) -> Any:
    return chroma.repeat(2, axis=0).repeat(2, axis=1)


def interpolated(chroma: Any) -> Any:
    """Three quarters of the nearer sample, one of the farther, in both directions."""
    for axis in (0, 1):
        chroma = np.moveaxis(chroma, axis, 0)
        padded = np.concatenate([chroma[:1], chroma, chroma[-1:]])
        before, after = padded[:-2], padded[2:]
        both = np.stack([0.75 * chroma + 0.25 * before, 0.75 * chroma + 0.25 * after], axis=1)
        chroma = np.moveaxis(both.reshape(-1, *chroma.shape[1:]), 0, axis)
    return chroma


@pytest.mark.parametrize("name", RIGHT)
def test_round_trips_are_the_closed_form_of_the_standards(name: str) -> None:
    image = noise(30, 44)
    form, matrix, levels = name.split("-")
    luma, blue, red = written(image, matrix, levels)
    spread = interpolated if form == "yuv420" else repeated

    expected = read(luma, spread(blue), spread(red), matrix, levels)

    difference = np.abs(photograph(image, name) - expected)
    assert difference.max() <= 2  # a level of Y or of chroma where float32 rounds a half the other way
    assert (difference > 0).mean() < 0.01


def test_bt601_limited_is_what_opencv_makes_of_nv12() -> None:
    image = blocks()

    ours = photograph(image, "nv12-bt601-limited")

    assert largest(ours, cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), cv2.COLOR_YUV2RGB_I420)) <= 2


def test_bt601_full_is_what_opencv_makes_of_ycrcb() -> None:
    image = blocks()

    ours = photograph(image, "nv12-bt601-full")

    assert largest(ours, cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb), cv2.COLOR_YCrCb2RGB)) <= 2


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("levels", ["full", "limited"])
def test_every_matrix_and_range_is_swscale_s(matrix: str, levels: str) -> None:
    image = blocks()
    space = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709}[matrix]
    extent = {"full": ColorRange.JPEG, "limited": ColorRange.MPEG}[levels]
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")

    stored = frame.reformat(format="yuv444p", dst_colorspace=space, dst_color_range=extent)
    back = stored.reformat(format="rgb24", src_colorspace=space, src_color_range=extent)

    difference = np.abs(photograph(image, f"nv12-{matrix}-{levels}").astype(int) - back.to_ndarray())
    assert difference.mean() <= 1
    assert difference.max() <= 5


@pytest.mark.parametrize("name", RIGHT)
def test_grey_comes_back_within_a_level(name: str) -> None:
    assert largest(photograph(greys(), name), greys()) <= 1


@pytest.mark.parametrize("name", ["nv12-bt601-as-bt709", "nv12-bt709-as-bt601"])
def test_the_wrong_matrix_spares_grey_and_shifts_colour(name: str) -> None:
    image = blocks()

    assert largest(photograph(greys(), name), greys()) <= 1
    assert 5 < np.abs(photograph(image, name).astype(int) - image).mean() < 30


def test_the_wrong_range_stretches_or_flattens_grey() -> None:
    grey = greys().astype(float)

    stretched = np.rint((grey - 16) * 255 / 219).clip(0, 255)
    flattened = np.rint(16 + grey * 219 / 255)

    assert largest(photograph(greys(), "nv12-full-as-limited"), stretched) == 0
    assert largest(photograph(greys(), "nv12-limited-as-full"), flattened) == 0


@pytest.mark.parametrize("name", sorted(CAMERAS))
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 1), (7, 9), (8, 9), (2, 2)])
def test_odd_sides_repeat_their_last_row_and_column(name: str, size: tuple[int, int]) -> None:
    image = noise(*size)
    before = image.copy()
    even = np.pad(image, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")

    taken = photograph(image, name)

    assert taken.shape == image.shape
    assert taken.dtype == np.uint8
    assert taken.flags.c_contiguous
    np.testing.assert_array_equal(taken, photograph(even, name)[: size[0], : size[1]])
    np.testing.assert_array_equal(image, before)


def test_interpolated_chroma_is_smoother_than_repeated() -> None:
    edge = np.zeros((16, 16, 3), np.uint8)
    edge[:, :6], edge[:, 6:] = (255, 0, 0), (0, 0, 255)

    steps = [
        np.abs(np.diff(photograph(edge, f"{form}-bt601-full").astype(int), axis=1)).max(axis=(0, 2))
        for form in ("nv12", "yuv420")
    ]

    assert (steps[1] > 0).sum() > (steps[0] > 0).sum()


def test_no_camera_leaves_the_pixels() -> None:
    image = noise(5, 5)

    assert photograph(image, "none") is image


def test_an_unknown_camera_is_named() -> None:
    with pytest.raises(InputError, match=r"Unknown camera 'nv12-bt601'\. Did you mean 'nv12-bt601-full'|limited"):
        photograph(noise(2, 2), "nv12-bt601")
