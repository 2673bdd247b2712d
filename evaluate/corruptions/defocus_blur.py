"""Blur of a lens out of focus: every point becomes a disk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import filter_image


class Defocus(NamedTuple):
    """Radius of the disk and width of the Gaussian that softens its edge, both in pixels."""

    radius: float
    softness: float


DEFOCUS: Mapping[ParameterSet, tuple[Defocus, ...]] = {
    "imagenet-c": (Defocus(3, 0.1), Defocus(4, 0.5), Defocus(6, 0.5), Defocus(8, 0.5), Defocus(10, 0.5)),
    "cifar10-c": (Defocus(0.3, 0.4), Defocus(0.4, 0.5), Defocus(0.5, 0.6), Defocus(1, 0.2), Defocus(1.5, 0.1)),
}
"""Severities 1 to 5."""

SMALL_RADIUS = 8
"""Disks up to this radius are drawn on 17 x 17 pixels and softened over 3 x 3, larger ones over 5 x 5."""


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Average over the disk, the image mirrored at its edges; see ``Apply``.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261. The weights are float32 and do not sum to 1, so that all of
        it is in float64, as theirs is; equal in every byte of photographs.
    """
    kernel = _disk(at_severity(DEFOCUS, severity, parameters))
    return filter_image(image, lambda channel: cv2.filter2D(channel, cv2.CV_64F, kernel))


@lru_cache(maxsize=10)
def _disk(defocus: Defocus) -> NDArray[np.float32]:
    """Draw the softened disk, without the empty rows around it."""
    small = defocus.radius <= SMALL_RADIUS
    reach = SMALL_RADIUS if small else int(defocus.radius)
    places = np.arange(-reach, reach + 1)
    disk = (places[:, None] ** 2 + places**2 <= defocus.radius**2).astype(np.float32)
    disk /= disk.sum()
    side = 3 if small else 5
    softened = cv2.GaussianBlur(disk, (side, side), sigmaX=defocus.softness)
    empty = min(int(np.flatnonzero(softened.any(axis=1))[0]), reach)
    return np.ascontiguousarray(softened[empty : 2 * reach + 1 - empty, empty : 2 * reach + 1 - empty])
