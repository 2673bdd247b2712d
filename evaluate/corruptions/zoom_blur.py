"""Blur of a camera that moves towards the picture while the shutter is open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import TRUNCATION_GUARD, Floats


class Zoom(NamedTuple):
    """End (nearly always left out) and step of the zoom factors, which start at 1."""

    end: float
    step: float


ZOOM: Mapping[ParameterSet, tuple[Zoom, ...]] = {
    "imagenet-c": (Zoom(1.11, 0.01), Zoom(1.16, 0.01), Zoom(1.21, 0.02), Zoom(1.26, 0.02), Zoom(1.31, 0.03)),
    "cifar10-c": (Zoom(1.06, 0.01), Zoom(1.11, 0.01), Zoom(1.16, 0.01), Zoom(1.21, 0.01), Zoom(1.26, 0.01)),
}
"""Severities 1 to 5."""


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Average the image with itself at every zoom factor; see ``Apply``.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261. The image itself counts once more beside factor 1, and rounding
        of the factors decides how many there are, as in theirs; a value may differ by one level in 1 byte of 1,000.
    """
    zoom = at_severity(ZOOM, severity, parameters)
    factors = np.arange(1, zoom.end, zoom.step)
    # OpenCV maps four channels in half the time of three.
    floats = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).astype(np.float32)
    total = 2 * floats  # the image itself, and factor 1
    for factor in factors[1:]:
        cv2.add(total, clipped_zoom(floats, float(factor)), dst=total)
    total /= np.float32(len(factors) + 1)
    total += np.float32(TRUNCATION_GUARD)
    blurred: Pixels = cv2.cvtColor(total.astype(np.uint8), cv2.COLOR_RGBA2RGB)
    return blurred


def clipped_zoom(image: NDArray[Any], factor: float) -> Floats:
    """Magnify the middle of an image so that it fills the frame.

    The middle, ``ceil(side / factor)`` pixels, is stretched to ``factor`` times its size, its corner pixels on the
    corners (linear interpolation), and the frame is cut out of what results.

    Args:
        image: (H, W) or (H, W, C) float32.
        factor: Magnification, 1 or more.

    Returns:
        float32 of the same shape.
    """
    height, width = image.shape[:2]
    (step_y, top), (step_x, left) = _places(height, factor), _places(width, factor)
    zoomed: Floats = cv2.warpAffine(
        image,
        np.array([[step_x, 0, left], [0, step_y, top]]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return zoomed


def _places(side: int, factor: float) -> tuple[float, float]:
    """Give the distance between neighbours of the frame in pixels of the image, and the place of the first one."""
    middle = math.ceil(side / factor)
    stretched = round(middle * factor)
    step = (middle - 1) / (stretched - 1) if stretched > 1 else 0.0
    return step, (side - middle) // 2 + (stretched - side) // 2 * step
