"""Single pixels lost, evenly spread: where noise without slow waves is low."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity
from .spectral import distances, draw_phases, field

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (0.8, 1.6, 2.4, 4, 5.6),
    "cifar10-c": (0.7, 1.4, 2.1, 3.5, 4.2),
}
"""The authors' level, 0 to 10, severities 1 to 5."""

LOWEST, RANGE = -2.5, 3.0
"""Threshold in standard deviations of the noise at level 0, and what level 10 adds."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw the phases of one field; see ``draw_phases``."""
    return draw_phases(rng, shape, 1)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Turn black where the noise is not above the threshold; see ``Apply``.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273; with the same draws, equal in every byte.
    """
    (left,), (middle,) = draws
    threshold = at_severity(LEVEL, severity, parameters) * RANGE / 10 + LOWEST
    noise = field(distances(image.shape), left, middle)
    sampled: Pixels = cv2.copyTo(image, (noise > threshold).astype(np.uint8))
    return sampled
