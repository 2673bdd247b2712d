"""Clouds of colour: noise of slow waves."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity
from .spectral import distances, draw_phases, field

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (1, 2, 3, 4, 5),
    "cifar10-c": (2.5, 4, 5.5, 6.5, 7),
}
"""The authors' level, 0 to 10, severities 1 to 5."""

SIGMA = 64
"""Standard deviation at level 10, in grey levels."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw the phases of one field for each channel; see ``draw_phases``."""
    return draw_phases(rng, shape, 3)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Add a field to each channel whose amplitude falls with the square of the frequency; see ``Apply``.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273; with the same draws, equal in every byte.
    """
    sigma = at_severity(LEVEL, severity, parameters) * SIGMA / 10
    amplitude = 1 / (distances(image.shape) ** 2 + 1)
    fields = [field(amplitude, left, middle) for left, middle in zip(*draws, strict=True)]
    # Values are whole, so truncating the sum is adding the noise rounded down.
    levels = cv2.merge([np.floor(sigma * noise).astype(np.int16) for noise in fields])
    clouded: Pixels = cv2.add(image, levels, dtype=cv2.CV_8U)
    return clouded
