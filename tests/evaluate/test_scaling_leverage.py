"""The matrices found by impulses are those of the libraries' own float arithmetic, and give the published leverage."""

import cv2
import numpy as np
import pytest
from PIL import Image

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate import scaling_leverage
from robustmq_trt.evaluate.scaling_leverage import leverage, resize_matrix, resizer_leverages

PILLOW = {
    "pillow-bilinear": Image.Resampling.BILINEAR,
    "pillow-hamming": Image.Resampling.HAMMING,
    "pillow-lanczos": Image.Resampling.LANCZOS,
    "pillow-nearest": Image.Resampling.NEAREST,
}
OPENCV = {
    "opencv-area": cv2.INTER_AREA,
    "opencv-cubic": cv2.INTER_CUBIC,
    "opencv-linear": cv2.INTER_LINEAR,
    "opencv-nearest": cv2.INTER_NEAREST,
}


@pytest.mark.parametrize(("source", "resized"), [(64, 16), (50, 12)])
@pytest.mark.parametrize("resizer", [*PILLOW, *OPENCV])
def test_impulses_find_the_weights_of_the_librarys_float_arithmetic(resizer, source, resized):
    unit = np.eye(source, dtype=np.float32)
    if resizer in PILLOW:
        expected = np.asarray(Image.fromarray(unit).resize((source, resized), PILLOW[resizer]))
    else:
        expected = cv2.resize(unit, (source, resized), interpolation=OPENCV[resizer])

    found = resize_matrix(resizer, source, resized)

    np.testing.assert_allclose(found, expected, atol=0.005)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_a_window_of_rows_is_that_part_of_the_matrix():
    whole = resize_matrix("opencv-cubic", 48, 12)

    np.testing.assert_array_equal(resize_matrix("opencv-cubic", 48, 12, top=3, count=5), whole[3:8])


@pytest.mark.parametrize(
    ("resizer", "used", "ratio"),
    [
        ("opencv-nearest", 1 / 64, 0.125),
        ("pillow-nearest", 1 / 64, 0.125),
        ("opencv-linear", 1 / 16, 0.25),
        ("tf-bilinear", 1 / 16, 0.25),
        ("torch-bilinear", 1 / 16, 0.25),
        ("opencv-cubic", 1 / 4, 0.17),
        ("opencv-area", 1, 1.0),
        ("pillow-box", 1, 1.0),
        ("pillow-bicubic", 1, 1.3),
        ("pillow-bilinear", 1, 1.7),
    ],
)
def test_leverage_at_an_eightfold_reduction_is_what_was_found_before(resizer, used, ratio):
    found = leverage(resizer, 8)

    assert found.used == pytest.approx(used)
    assert found.energy_ratio == pytest.approx(ratio, rel=0.03)
    assert found.nonlinearity < 1.5


def test_a_resizer_that_is_no_matrix_is_told_by_its_departure(monkeypatch):
    """Squaring is monotone and keeps black and white, but no matrix does it."""

    def squared(image, *, height, width, resizer, window=None):
        found = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)
        found = np.rint(found**2 / 255).astype(np.uint8)
        return found if window is None else window.of(found)

    monkeypatch.setattr(scaling_leverage, "resize", squared)

    assert leverage("opencv-area", 4).nonlinearity > 10


def test_a_resizer_that_is_not_installed_is_told(monkeypatch):
    def absent(image, *, resizer, **how):
        raise scaling_leverage.UnsupportedError("Install it.")

    monkeypatch.setattr(scaling_leverage, "resize", absent)

    figures, reasons = resizer_leverages([2])

    assert figures == []
    assert set(reasons.values()) == {"Install it."}


def test_enlarging_and_keeping_the_size_are_refused():
    with pytest.raises(InputError, match="fewer rows"):
        resize_matrix("opencv-area", 8, 9)
    with pytest.raises(InputError, match="at least 2"):
        leverage("opencv-area", 1)
