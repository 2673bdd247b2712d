from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robustmq_trt.core.errors import UnsupportedError
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.geometry import Window
from robustmq_trt.inputs.resize import resize

FIR = replace(PRESETS["torchvision"], resize="fir-bilinear")
SIZES = [
    ((375, 500), (256, 341)),
    ((40, 30), (224, 224)),
    ((300, 800), (8, 9)),
    ((500, 375), (500, 100)),  # one side stays
    ((1, 1), (4, 5)),
    ((4, 5), (1, 1)),
    ((1, 1), (1, 224)),
    ((1, 6000), (1, 2)),
    ((6000, 3), (2, 3)),
    ((2, 3000), (100, 100)),
    ((3, 1), (3, 3000)),
]


def noise(*size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)


def by_pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def levels_apart(resized: np.ndarray, expected: np.ndarray) -> int:
    assert resized.shape == expected.shape
    assert resized.dtype == np.uint8
    return int(np.abs(resized.astype(int) - expected).max())


@pytest.mark.parametrize(("stored", "wanted"), SIZES)
def test_pillow_s_bilinear_is_met_within_two_levels(stored: tuple[int, int], wanted: tuple[int, int]) -> None:
    image = noise(*stored)

    resized = resize(image, height=wanted[0], width=wanted[1], resizer="fir-bilinear")

    assert levels_apart(resized, by_pillow(image, wanted)) <= 2


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_window_of_any_size_is_pillow_s_within_two_levels(data: st.DataObject) -> None:
    rows, columns, height, width = (data.draw(st.integers(1, 120)) for _ in range(4))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(
        top=top,
        left=left,
        height=data.draw(st.integers(1, height - top)),
        width=data.draw(st.integers(1, width - left)),
    )
    image = noise(rows, columns)

    part = resize(image, height=height, width=width, resizer="fir-bilinear", window=window)

    assert levels_apart(part, window.of(by_pillow(image, (height, width)))) <= 2


def test_black_and_white_edges_do_not_wrap_around() -> None:
    for size in [(33, 47), (200, 220), (16, 16)]:
        image = (noise(100, 110) > 127).astype(np.uint8) * np.uint8(255)

        resized = resize(image, height=size[0], width=size[1], resizer="fir-bilinear")

        assert levels_apart(resized, by_pillow(image, size)) <= 2


def test_an_image_that_is_a_view_is_resized_as_its_copy() -> None:
    image = noise(90, 101)

    for view in (image[::-1], image[:, ::2], image[5:80, 3:70], image[..., ::-1]):
        resized = resize(view, height=41, width=40, resizer="fir-bilinear")

        np.testing.assert_array_equal(resized, resize(view.copy(), height=41, width=40, resizer="fir-bilinear"))


def test_the_source_stays_as_it_was() -> None:
    image = noise(90, 101)

    resize(image, height=41, width=40, resizer="fir-bilinear")

    np.testing.assert_array_equal(image, noise(90, 101))


def test_resizing_in_threads_changes_nothing() -> None:
    images = [noise(64 + number, 81) for number in range(40)]

    def resized(image: np.ndarray) -> bytes:
        return resize(image, height=32, width=40, resizer="fir-bilinear").tobytes()

    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(resized, images))

    assert together == [resized(image) for image in images]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_a_pipeline_hands_out_its_own_writable_pixels(kind: str) -> None:
    file, image = io.BytesIO(), noise(300, 260)
    Image.fromarray(image).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))

    loaded = FIR.load(file.getvalue())

    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable
    assert levels_apart(loaded, PRESETS["torchvision"].load(image)) <= 2


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2000, 3), (224, 224), (256, 256), (257, 255)])
@pytest.mark.parametrize("geometry", ["short-side-crop", "squash", "letterbox-grey"])
def test_every_geometry_of_any_image_is_pillow_s_within_two_levels(geometry: str, size: tuple[int, int]) -> None:
    image, fir = noise(*size), replace(FIR, geometry=geometry)

    assert levels_apart(fir.load(image), replace(fir, resize="pillow-bilinear").load(image)) <= 2


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)

    with pytest.raises(UnsupportedError, match=r"`fir-bilinear` needs cykooz-resizer\. Run: pip install 'robustmq-trt"):
        FIR.load(noise(300, 260))
    assert FIR.missing.endswith("Run: pip install 'robustmq-trt[decoders]'.")
