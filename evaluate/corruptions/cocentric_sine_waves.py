"""Rings around one point, their edges wavy."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (3, 5, 8, 9, 10),
    "cifar10-c": (1, 2, 3, 4, 5),
}
"""The authors' level, 0 to 10, severities 1 to 5."""

CONTRAST = 128
"""From the dark to the bright side of a ring at level 10, in grey levels."""

MOST_WAVES = 10.0
"""Waves along a ring, at the most."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw the rings: their middle, (2,) pixels right and down; (3,) waves, their amplitude, the rings' width.

    Amplitude and width are in pixels, up to a tenth of the longer side.
    """
    tenth = max(shape[:2]) / 10
    middle = rng.random(2) * (shape[1], shape[0])
    return middle, (1 - rng.random(3)) * (MOST_WAVES, tenth, tenth)  # no ring has the width 0


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Add a ramp across every ring, the same to each channel; see ``Apply``.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273; with the same draws, equal in every byte.
    """
    (middle_x, middle_y), (waves, amplitude, ring) = draws
    contrast = at_severity(LEVEL, severity, parameters) * CONTRAST / 10
    height, width = image.shape[:2]
    right, down = np.arange(width) - middle_x, np.arange(height)[:, None] - middle_y
    distance = np.sqrt(right**2 + down**2) + np.sin(np.arctan2(right, down) * waves) * amplitude
    ramp = distance % ring / ring - 0.5
    levels = np.floor(contrast * ramp).astype(np.int16)
    ringed: Pixels = cv2.add(image, cv2.merge([levels] * 3), dtype=cv2.CV_8U)
    return ringed
