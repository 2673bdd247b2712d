"""Gaussian noise, independent for every pixel and channel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .numbers import draw_codes, normal_quantiles
from .parameters import Draws, ParameterSet, Pixels, at_severity

SIGMA: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (0.08, 0.12, 0.18, 0.26, 0.38),
    "cifar10-c": (0.04, 0.06, 0.08, 0.09, 0.10),
}
"""Standard deviation in pixel scale [0, 1], severities 1 to 5."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw one 16-bit code for every value of the image."""
    return (draw_codes(rng, shape),)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Add the noise; see ``Apply``.

    The reference computes ``uint8(clip(x / 255 + sigma n, 0, 1) * 255)``. ``x`` is whole, so truncating the sum is
    adding ``floor(255 sigma n)``: noise that is drawn and rounded without looking at the image.

    ``draws``: (H, W, 3) uint16 codes, or standard normal numbers.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; with the same normal numbers, equal in every byte.
    """
    (noise,) = draws
    sigma = at_severity(SIGMA, severity, parameters)
    levels = _noise_levels(sigma).take(noise) if noise.dtype == np.uint16 else np.floor(noise * (255 * sigma))
    noisy: Pixels = cv2.add(image, levels, dtype=cv2.CV_8U)  # clips to 0..255
    return noisy


@lru_cache(maxsize=10)  # 128 KiB each
def _noise_levels(sigma: float) -> NDArray[np.int16]:
    return np.floor(normal_quantiles().astype(np.float64) * (255 * sigma)).astype(np.int16)
