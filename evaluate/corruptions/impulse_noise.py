"""Impulse noise: single values of single channels stuck at 0 or 255 (salt and pepper)."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from .numbers import CODES, draw_codes
from .parameters import Draws, ParameterSet, Pixels, at_severity

AMOUNT: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (0.03, 0.06, 0.09, 0.17, 0.27),
    "cifar10-c": (0.01, 0.02, 0.03, 0.05, 0.07),
}
"""Share of values that are replaced, severities 1 to 5; half of them become 255."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw one 16-bit code for every value of the image."""
    return (draw_codes(rng, shape),)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Set the values with the lowest codes to 0 and those with the highest to 255; see ``Apply``.

    ``draws``: (H, W, 3) uint16 codes.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261, by way of scikit-image; equal in every byte where the same values
        are hit.
    """
    (codes,) = draws
    hit = round(at_severity(AMOUNT, severity, parameters) / 2 * CODES)
    codes = np.ascontiguousarray(codes)
    shape = image.shape
    kept = cv2.compare(codes.reshape(shape[0], -1), hit, cv2.CMP_GE)  # 255 where the value stays or turns white
    salt = cv2.compare(codes.reshape(shape[0], -1), CODES - hit, cv2.CMP_GE)
    noisy: Pixels = cv2.bitwise_or(cv2.bitwise_and(image.reshape(shape[0], -1), kept), salt)
    return noisy.reshape(shape)
