"""Drops of water or splashes of mud on the lens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .numbers import draw_codes, normal_numbers
from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import TRUNCATION_GUARD, Floats, smooth


class Spatter(NamedTuple):
    """One severity.

    Attributes:
        mean: Mean of the random liquid layer, in pixel scale [0, 1].
        sigma: Its standard deviation.
        smoothing: Width of its smoothing in pixels.
        threshold: Value below which the lens is dry.
        strength: Water: brightness of the thickest drop. Mud: width of the smoothing of the splashes in pixels.
        liquid: What it is.
    """

    mean: float
    sigma: float
    smoothing: float
    threshold: float
    strength: float
    liquid: Literal["water", "mud"]


SPATTER: Mapping[ParameterSet, tuple[Spatter, ...]] = {
    "imagenet-c": (
        Spatter(0.65, 0.3, 4, 0.69, 0.6, "water"),
        Spatter(0.65, 0.3, 3, 0.68, 0.6, "water"),
        Spatter(0.65, 0.3, 2, 0.68, 0.5, "water"),
        Spatter(0.65, 0.3, 1, 0.65, 1.5, "mud"),
        Spatter(0.67, 0.4, 1, 0.65, 1.5, "mud"),
    ),
    "cifar10-c": (
        Spatter(0.62, 0.1, 0.7, 0.7, 0.5, "water"),
        Spatter(0.65, 0.1, 0.8, 0.7, 0.5, "water"),
        Spatter(0.65, 0.3, 1, 0.69, 0.5, "water"),
        Spatter(0.65, 0.1, 0.7, 0.69, 0.6, "mud"),
        Spatter(0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
    ),
}
"""Severities 1 to 5."""

WATER, MUD = (175, 238, 238), (63, 42, 20)
_LIGHT_FROM_ABOVE = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
_FARTHEST = 20
_FIRM = 0.8


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw one 16-bit code for every pixel."""
    return (draw_codes(rng, shape[:2]),)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Add drops that glisten at their edges, or cover the image with mud; see ``Apply``.

    ``draws``: (H, W) uint16 codes or standard normal numbers.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; float32 here: 1 byte in 10,000 differs by one level.
    """
    (numbers,) = draws
    spatter = at_severity(SPATTER, severity, parameters)
    layer = smooth(normal_numbers(numbers).astype(np.float64) * spatter.sigma + spatter.mean, spatter.smoothing)
    layer[layer < spatter.threshold] = 0
    floats = image.astype(np.float32) + np.float32(TRUNCATION_GUARD)
    if spatter.liquid == "water":
        drops = _glistening(layer) * np.float32(spatter.strength)
        floats += drops[..., None] * np.array(WATER, np.float32)
    else:
        splashes = smooth((layer > spatter.threshold).astype(np.float32), spatter.strength)
        splashes[splashes < _FIRM] = 0
        floats += splashes[..., None] * (np.array(MUD, np.float32) - image)
    spattered: Pixels = np.clip(floats, 0, 255).astype(np.uint8)
    return spattered


def _glistening(layer: NDArray[np.float64]) -> Floats:
    """Give how bright each pixel of the drops is: (H, W) float32 in [0, 1], lit from one corner."""
    liquid = (layer * 255).astype(np.int32).astype(np.uint8)  # what is brighter than white wraps, as in the reference
    edges = cv2.Canny(liquid, 50, 150)
    distance = cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, _FARTHEST), (3, 3)).astype(np.uint8)
    relief = cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, _LIGHT_FROM_ABOVE)
    light: Floats = liquid * cv2.blur(relief, (3, 3)).astype(np.float32)
    return light / max(float(light.max()), 1.0)
