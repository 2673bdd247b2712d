"""Gaussian noise, independent for every pixel and channel."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity

SIGMA: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (0.08, 0.12, 0.18, 0.26, 0.38),
    "cifar10-c": (0.04, 0.06, 0.08, 0.09, 0.10),
}
"""Standard deviation in pixel scale [0, 1], severities 1 to 5."""


def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Draws:
    """Draw one standard normal number per value of the image: ``shape``, float64."""
    return rng.standard_normal(shape)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Add the noise and truncate to whole grey levels, as the reference does.

    The reference computes ``uint8(clip(x / 255 + sigma n, 0, 1) * 255)``. ``x`` is whole, so truncating the sum is
    adding ``floor(255 sigma n)``: noise that is drawn and rounded without looking at the image.

    Args:
        image: (H, W, 3) uint8.
        draws: (H, W, 3) standard normal.
        severity: 1 to 5.
        parameters: Parameter set.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: If severity or parameter set does not exist.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; equal in every byte.
    """
    sigma = at_severity(SIGMA, severity, parameters)
    noise = np.multiply(draws, 255 * sigma)
    np.floor(noise, out=noise)
    noisy: Pixels = cv2.add(image, noise, dtype=cv2.CV_8U)  # clips to 0..255
    return noisy
