"""Falling snow: bright streaks over a paler picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .motion_blur import Motion, blur_along
from .numbers import draw_codes, normal_numbers
from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import TRUNCATION_GUARD, Floats
from .zoom_blur import clipped_zoom


class Snow(NamedTuple):
    """One severity.

    Attributes:
        mean: Mean of the flakes' brightness, in [0, 1].
        sigma: Its standard deviation.
        zoom: Magnification of the flakes.
        threshold: Brightness below which there is no flake.
        motion: How flakes become streaks.
        kept: Share of the picture that is not made paler.
    """

    mean: float
    sigma: float
    zoom: float
    threshold: float
    motion: Motion
    kept: float


SNOW: Mapping[ParameterSet, tuple[Snow, ...]] = {
    "imagenet-c": (
        Snow(0.1, 0.3, 3, 0.5, Motion(10, 4), 0.8),
        Snow(0.2, 0.3, 2, 0.5, Motion(12, 4), 0.7),
        Snow(0.55, 0.3, 4, 0.9, Motion(12, 8), 0.7),
        Snow(0.55, 0.3, 4.5, 0.85, Motion(12, 8), 0.65),
        Snow(0.55, 0.3, 2.5, 0.85, Motion(12, 12), 0.55),
    ),
    "cifar10-c": (
        Snow(0.1, 0.2, 1, 0.6, Motion(8, 3), 0.95),
        Snow(0.1, 0.2, 1, 0.5, Motion(10, 4), 0.9),
        Snow(0.15, 0.3, 1.75, 0.55, Motion(10, 4), 0.9),
        Snow(0.25, 0.3, 2.25, 0.6, Motion(12, 6), 0.85),
        Snow(0.3, 0.3, 1.25, 0.65, Motion(14, 12), 0.8),
    ),
}
"""Severities 1 to 5."""

STEEPEST, FLATTEST = -135.0, -45.0
"""Range of the direction that the streaks run in, in degrees to the horizontal."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw a 16-bit code (H, W) for every pixel and one angle (1,) in degrees, uniform in [-135, -45]."""
    return draw_codes(rng, shape[:2]), rng.uniform(STEEPEST, FLATTEST, size=1)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Make the picture paler and add the streaks and their image turned by 180 degrees; see ``Apply``.

    ``draws``: (H, W) uint16 codes or standard normal numbers, and (1,) angle in degrees.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261. Flakes are float32 here: one whose brightness is the threshold to
        7 digits may be missing or added, which is seen in up to 1 byte of 1,000.
    """
    numbers, angle = draws
    snow = at_severity(SNOW, severity, parameters)
    flakes = _flakes(normal_numbers(_middle(numbers, snow.zoom)), image.shape[:2], snow)
    streaks = blur_along(flakes, snow.motion, float(angle[0])).astype(np.float32)
    streaks = streaks + streaks[::-1, ::-1] + np.float32(TRUNCATION_GUARD)
    pale = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY) * np.float32(1.5) + np.float32(127.5)
    snowy: Pixels = cv2.merge([_fallen_on(channel, pale, streaks, snow.kept) for channel in cv2.split(image)])
    return snowy


def _fallen_on(channel: Pixels, pale: Floats, streaks: Floats, kept: float) -> Pixels:
    floats = channel.astype(np.float32)
    paler = np.maximum(floats, pale)
    paler *= np.float32(1 - kept)
    floats *= np.float32(kept)
    floats += paler
    floats += streaks
    return np.minimum(floats, 255, out=floats).astype(np.uint8)


def _middle(numbers: NDArray[np.generic], zoom: float) -> NDArray[np.generic]:
    """Cut out the numbers that magnification leaves in the frame; the others need not be looked up."""
    rows, columns = (math.ceil(side / zoom) for side in numbers.shape)
    top, left = (numbers.shape[0] - rows) // 2, (numbers.shape[1] - columns) // 2
    return numbers[top : top + rows, left : left + columns]


def _flakes(numbers: NDArray[np.floating], shape: tuple[int, ...], snow: Snow) -> Pixels:
    layer: Floats = np.zeros(shape, np.float32)
    rows, columns = numbers.shape
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    layer[top : top + rows, left : left + columns] = numbers * snow.sigma + snow.mean
    layer = clipped_zoom(layer, snow.zoom)
    layer[layer < snow.threshold] = 0
    return (np.minimum(layer, 1) * np.float32(255)).astype(np.uint8)
