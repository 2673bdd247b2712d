"""Blur of a camera that moves in a straight line while the shutter is open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity


class Motion(NamedTuple):
    """Half the number of taps beside the first, and the width of their Gaussian weights, both in pixels."""

    radius: int
    sigma: float


MOTION: Mapping[ParameterSet, tuple[Motion, ...]] = {
    "imagenet-c": (Motion(10, 3), Motion(15, 5), Motion(15, 8), Motion(15, 12), Motion(20, 15)),
    "cifar10-c": (Motion(6, 1), Motion(6, 1.5), Motion(6, 2), Motion(8, 2), Motion(9, 2.5)),
}
"""Severities 1 to 5."""

MAX_ANGLE = 45.0
"""Largest angle to the horizontal, in degrees."""

# The reference rounds to 16 bits (257 steps a grey level) before it truncates to 8.
_HALF_A_16_BIT_STEP = 0.5 / 257


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw the direction: one angle in degrees, uniform in [-45, 45], as an array (1,)."""
    return (rng.uniform(-MAX_ANGLE, MAX_ANGLE, size=1),)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Blur along the direction; see ``Apply``.

    ``draws``: (1,) angle in degrees.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261, who call ImageMagick's motion blur. Sums are float32 here, so a
        value on the edge between two levels may fall to the other one: at most 1 byte in 10,000 of photographs.
    """
    (angle,) = draws
    return blur_along(image, at_severity(MOTION, severity, parameters), float(angle[0]))


def blur_along(image: Pixels, motion: Motion, angle: float) -> Pixels:
    """Average the image with its own shifts along a direction, edges replicated, truncated to whole grey levels.

    Tap i = 0..2 radius has the weight ``exp(-i^2 / 2 sigma^2)``, normalised to sum 1, and reads
    ``ceil(i sin(angle) - 1/2)`` rows below and ``ceil(i cos(angle) - 1/2)`` columns to the right: the kernel is
    one-sided, so the picture also moves.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        motion: Number of taps and width of their weights.
        angle: Direction in degrees, any.

    Returns:
        uint8 of the same shape.
    """
    height, width = image.shape[:2]
    taps = _taps(motion, angle)
    down, right = [place[0] for place in taps], [place[1] for place in taps]
    above, before = -min(0, *down), -min(0, *right)
    padded = cv2.copyMakeBorder(image, above, max(0, *down), before, max(0, *right), cv2.BORDER_REPLICATE).astype(
        np.float32
    )
    blurred = np.full(image.shape, _HALF_A_16_BIT_STEP, np.float32)
    for (below, beside), weight in taps.items():
        top, left = above + below, before + beside
        cv2.scaleAdd(padded[top : top + height, left : left + width], weight, blurred, dst=blurred)
    return blurred.astype(np.uint8)


def _taps(motion: Motion, angle: float) -> dict[tuple[int, int], float]:
    steps = range(2 * motion.radius + 1)
    weights = [math.exp(-(step**2) / (2 * motion.sigma**2)) for step in steps]
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    taps: dict[tuple[int, int], float] = {}
    for step, weight in zip(steps, weights, strict=True):
        place = math.ceil(step * sine - 0.5), math.ceil(step * cosine - 0.5)
        taps[place] = taps.get(place, 0.0) + weight / sum(weights)
    return taps
