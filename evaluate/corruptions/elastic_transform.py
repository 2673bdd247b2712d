"""Elastic deformation: a small random affine map, then a smooth random displacement of every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .numbers import draw_codes, uniform_numbers
from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import TRUNCATION_GUARD, Floats, smooth_field


class Elastic(NamedTuple):
    """Size of the displacement before smoothing, width of the smoothing, reach of the affine map; all in pixels."""

    size: float
    sigma: float
    affine: float


# The reference scales by 244 for images of 224 pixels.
ELASTIC: Mapping[ParameterSet, tuple[Elastic, ...]] = {
    "imagenet-c": (
        Elastic(244 * 2, 244 * 0.7, 244 * 0.1),
        Elastic(244 * 2, 244 * 0.08, 244 * 0.2),
        Elastic(244 * 0.05, 244 * 0.01, 244 * 0.02),
        Elastic(244 * 0.07, 244 * 0.01, 244 * 0.02),
        Elastic(244 * 0.12, 244 * 0.01, 244 * 0.02),
    ),
    "cifar10-c": (
        Elastic(0, 0, 32 * 0.08),
        Elastic(32 * 0.05, 32 * 0.2, 32 * 0.07),
        Elastic(32 * 0.08, 32 * 0.06, 32 * 0.06),
        Elastic(32 * 0.1, 32 * 0.04, 32 * 0.05),
        Elastic(32 * 0.1, 32 * 0.03, 32 * 0.03),
    ),
}
"""Severities 1 to 5."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw uniform numbers (3, 2) in [0, 1) for the affine map and 16-bit codes (2, H, W) for the displacement."""
    return rng.random((3, 2)), draw_codes(rng, (2, *shape[:2]))


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Map and displace with linear interpolation, the image mirrored at its edges; see ``Apply``.

    ``draws``: (3, 2) uniform numbers in [0, 1), and (2, H, W) uint16 codes or uniform numbers in [0, 1);
    the displacement to the right comes first.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261. float32 here: 1 byte in 1,000 differs by one level. The package
        imagecorruptions has another corruption under this name, without the affine map.
    """
    corners, fields = draws
    elastic = at_severity(ELASTIC, severity, parameters)
    height, width = image.shape[:2]
    mapped = cv2.warpAffine(
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).astype(np.float32),  # four channels take half the time of three
        _affine_map((height, width), corners, elastic.affine),
        (width, height),
        borderMode=cv2.BORDER_REFLECT_101,
    )
    if elastic.size:
        right, down = (_displacement(field, elastic) for field in fields)
        right += np.arange(width, dtype=np.float32)
        down += np.arange(height, dtype=np.float32)[:, None]
        mapped = cv2.remap(mapped, right, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    mapped += np.float32(TRUNCATION_GUARD)
    deformed: Pixels = cv2.cvtColor(np.clip(mapped, 0, 255, out=mapped).astype(np.uint8), cv2.COLOR_RGBA2RGB)
    return deformed


def _affine_map(shape: tuple[int, int], uniform: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Give the (2, 3) map that moves three corners of a square in the middle by up to ``reach`` pixels."""
    centre, side = np.array(shape) // 2, min(shape) // 3
    corners = np.array([centre + side, [centre[0] + side, centre[1] - side], centre - side], np.float32)
    if not side:  # too small an image for three different points
        return np.eye(2, 3)
    moved = corners + (uniform * (2 * reach) - reach).astype(np.float32)
    matrix: NDArray[np.float64] = cv2.getAffineTransform(corners, moved)
    return matrix


def _displacement(uniform: NDArray[np.floating], elastic: Elastic) -> Floats:
    field = smooth_field(np.asarray(uniform_numbers(uniform) * 2 - 1, np.float32), elastic.sigma, truncate=3)
    return field * np.float32(elastic.size)
