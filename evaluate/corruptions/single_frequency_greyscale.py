"""Grey stripes: one wave of one frequency over the whole picture."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (1, 1.5, 2, 4.5, 5),
    "cifar10-c": (0.6, 1.2, 1.8, 2.4, 3),
}
"""The authors' level, 0 to 10, severities 1 to 5."""

AMPLITUDE = 196
"""Of the wave at level 10, in grey levels."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw the wave: (2,) radians a pixel, to the right and down, in any order of size; (1,) phase in radians."""
    largest = rng.uniform(-np.pi, np.pi)
    frequencies = np.array([largest, rng.uniform(-1, 1) * abs(largest)])
    return rng.permutation(frequencies), rng.uniform(0, 2 * np.pi, size=1)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Add the same sine wave to every channel; see ``Apply``.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273; with the same draws, equal in every byte.
    """
    (right, down), phase = draws
    amplitude = at_severity(LEVEL, severity, parameters) * AMPLITUDE / 10
    height, width = image.shape[:2]
    wave = np.sin(np.arange(width) * right + np.arange(height)[:, None] * down + phase)
    # Values are whole, so truncating the sum is adding the noise rounded down.
    levels = np.floor(amplitude * wave).astype(np.int16)
    striped: Pixels = cv2.add(image, cv2.merge([levels] * 3), dtype=cv2.CV_8U)
    return striped
