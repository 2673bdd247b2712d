"""Speckle noise: Gaussian noise in proportion to the brightness."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .numbers import draw_codes, normal_quantiles
from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import TRUNCATION_GUARD

SIGMA: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (0.15, 0.2, 0.35, 0.45, 0.6),
    "cifar10-c": (0.06, 0.1, 0.12, 0.16, 0.2),
}
"""Standard deviation as a share of the pixel's own value, severities 1 to 5."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw one 16-bit code for every value of the image."""
    return (draw_codes(rng, shape),)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Multiply every value by ``1 + sigma n``; see ``Apply``.

    ``draws``: (H, W, 3) uint16 codes, or standard normal numbers, which are used in float64.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; with the same normal numbers, equal in every byte.
    """
    (noise,) = draws
    sigma = at_severity(SIGMA, severity, parameters)
    if noise.dtype == np.uint16:
        factors = 1 + np.float32(sigma) * normal_quantiles()
        noisy = image * factors.take(noise) + np.float32(TRUNCATION_GUARD)
        return np.clip(noisy, 0, 255).astype(np.uint8)
    scaled = image / 255
    exact: Pixels = (np.clip(scaled + scaled * (noise * sigma), 0, 1) * 255).astype(np.uint8)
    return exact
