from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from robustmq_trt.inputs.geometry import Window
from robustmq_trt.inputs.resize import RESIZERS, resize

TORCH: dict[str, dict[str, Any]] = {
    "torch-bicubic": {"mode": "bicubic"},
    "torch-bicubic-antialias": {"mode": "bicubic", "antialias": True},
    "torch-bilinear": {"mode": "bilinear"},
    "torch-bilinear-antialias": {"mode": "bilinear", "antialias": True},
    "torch-nearest": {"mode": "nearest"},
    "torch-nearest-exact": {"mode": "nearest-exact"},
}
SIZES = [
    ((375, 500), (256, 341)),
    ((40, 30), (224, 224)),
    ((300, 800), (8, 9)),  # reductions of 37 and 89: weights too fine for sums in float32
    ((300, 350), (60, 64)),  # of 5: sums around the middle level
    ((64, 64), (32, 32)),
    ((7, 5), (3, 9)),
    ((2, 3), (2, 1)),
    ((1, 1), (4, 5)),
]


def noise(*size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)


def by_torch(image: np.ndarray, size: tuple[int, int], options: dict[str, Any]) -> np.ndarray:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
    return F.interpolate(pixels, size, **options)[0].permute(1, 2, 0).numpy()


def test_every_torch_resizer_is_compared() -> None:
    assert set(TORCH) == {name for name in RESIZERS if name.startswith("torch-")}


@pytest.mark.parametrize("resizer", sorted(TORCH))
@pytest.mark.parametrize(("stored", "wanted"), SIZES)
def test_torch_is_met_bit_for_bit(resizer: str, stored: tuple[int, int], wanted: tuple[int, int]) -> None:
    image = noise(*stored)

    resized = resize(image, height=wanted[0], width=wanted[1], resizer=resizer)

    np.testing.assert_array_equal(resized, by_torch(image, wanted, TORCH[resizer]))


@settings(max_examples=60, deadline=None)
@given(sides=st.tuples(*[st.integers(2, 70)] * 4), resizer=st.sampled_from(sorted(TORCH)))
def test_torch_is_met_bit_for_bit_at_any_size(sides: tuple[int, ...], resizer: str) -> None:
    image = noise(*sides[:2])

    resized = resize(image, height=sides[2], width=sides[3], resizer=resizer)

    np.testing.assert_array_equal(resized, by_torch(image, sides[2:], TORCH[resizer]))


@pytest.mark.parametrize("resizer", ["torch-bicubic-antialias", "torch-bilinear-antialias"])
@pytest.mark.parametrize("levels", [(0, 1), (254, 255), (0, 255)])
def test_extreme_levels_are_met_bit_for_bit_at_every_reduction(resizer: str, levels: tuple[int, int]) -> None:
    for factor in (1.2, 2.1, 3.3, 4.2, 5.1, 6.7, 7.9, 8.5):
        image = np.array(levels, np.uint8)[noise(int(20 * factor), int(23 * factor)) % 2]

        resized = resize(image, height=20, width=23, resizer=resizer)

        np.testing.assert_array_equal(resized, by_torch(image, (20, 23), TORCH[resizer]))


@pytest.mark.parametrize("resizer", sorted(RESIZERS))
@pytest.mark.parametrize("window", [(0, 0, 41, 60), (5, 0, 20, 60), (3, 17, 33, 40), (40, 59, 1, 1)])
def test_a_window_is_cut_from_the_whole_resized_image(resizer: str, window: tuple[int, int, int, int]) -> None:
    image, (top, left, height, width) = noise(90, 101), window

    part = resize(
        image, height=41, width=60, resizer=resizer, window=Window(top=top, left=left, height=height, width=width)
    )

    whole = resize(image, height=41, width=60, resizer=resizer)
    np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


def test_antialiased_torch_differs_from_pillow_by_two_levels_at_most() -> None:
    for stored, wanted in SIZES:
        image = noise(*stored)

        torch_like, pillow = (
            resize(image, height=wanted[0], width=wanted[1], resizer=name).astype(int)
            for name in ("torch-bilinear-antialias", "pillow-bilinear")
        )

        assert np.abs(torch_like - pillow).max() <= 2
