"""Less contrast: every value drawn towards the mean of its channel."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity

SHARE: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (0.4, 0.3, 0.2, 0.1, 0.05),
    "cifar10-c": (0.75, 0.5, 0.4, 0.3, 0.15),
}
"""Share of the contrast that is left, severities 1 to 5."""


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Shrink the distance to each channel's mean; see ``Apply``.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; equal in every byte of photographs.
    """
    share = at_severity(SHARE, severity, parameters)
    means = np.array(cv2.mean(image)[:3]) / 255
    levels = np.arange(256)[:, None] / 255
    table = (np.clip((levels - means) * share + means, 0, 1) * 255).astype(np.uint8)
    faded: Pixels = cv2.LUT(image, table.reshape(1, 256, 3))
    return faded
